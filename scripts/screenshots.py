"""Pictures of the report for the README: ``python scripts/screenshots.py reports/index.html docs``.

Desktop and phone, light and dark, by a headless Chromium, in as many colours as a PNG palette has.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
# Width and height in CSS pixels; Chromium makes no window narrower than 500.
SIZES = {"desktop": (1280, 900), "phone": (500, 900)}
SCHEMES = ("light", "dark")


def main() -> None:
    """Take four pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--section", default="tables", help="tables, phonemes, listen, training, units or runs")
    options = parser.parse_args()
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        sys.exit(f"needs a browser: none of {', '.join(NAMES)} is on the PATH")
    if not options.page.is_file():
        sys.exit(f"{options.page}: not found; run 'make reproduce' first")
    options.folder.mkdir(parents=True, exist_ok=True)
    page = options.page.read_text(encoding="utf-8")
    for size, pixels in SIZES.items():
        for scheme in SCHEMES:
            picture = options.folder / f"report-{options.section}-{size}-{scheme}.png"
            take(program, shown(page, options.section, scheme), picture, pixels)
            print(f"{picture}: {picture.stat().st_size / 1000:.0f} kB")


def shown(page: str, section: str, scheme: str) -> str:
    """The page with one section and one theme."""
    alone = f"<style>main > section:not(#{section}) {{ display: none }}</style></head>"
    return page.replace("<html ", f'<html data-theme="{scheme}" ', 1).replace("</head>", alone, 1)


def take(program: str, page: str, picture: Path, pixels: tuple[int, int]) -> None:
    """One picture."""
    from PIL import Image

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        path.write_text(page, encoding="utf-8")
        look = [f"--window-size={pixels[0]},{pixels[1]}", "--hide-scrollbars", "--virtual-time-budget=3000"]
        output = [f"--screenshot={picture.resolve()}", f"--user-data-dir={folder}/profile"]
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses to be root within its sandbox
        command = [program, "--headless=new", "--disable-gpu", *sandbox, *look, *output, path.as_uri()]
        subprocess.run(command, check=True, timeout=120, stderr=subprocess.DEVNULL)
    Image.open(picture).convert("P", palette=Image.Palette.ADAPTIVE, colors=256).save(picture, optimize=True)


if __name__ == "__main__":
    main()
