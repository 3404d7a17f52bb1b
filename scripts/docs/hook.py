"""MkDocs hook: reference pages made from the code, and flow charts drawn without a network.

`mkdocs.yml` names this file under `hooks`. The pages of `reference/` and the change log exist in the built site alone,
so that they cannot differ from the code they describe. A fenced block in the language ``mermaid`` becomes an SVG.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from scripts.docs.commands import commands_page
from scripts.docs.drawing import draw
from scripts.docs.formats import bundles_page, shards_page
from scripts.docs.modules import modules_page
from scripts.docs.parameters import parameter_pages
from scripts.docs.stages import stages_page

ROOT = Path(__file__).resolve().parents[2]
_MERMAID = re.compile(r"^```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PAGES: dict[str, tuple[str, Callable[[Path], str]]] = {
    "reference/commands.md": ("Command line", commands_page),
    "reference/stages.md": ("Stages", stages_page),
    "reference/modules.md": ("Modules", modules_page),
    "reference/shards.md": ("Shards", shards_page),
    "reference/bundles.md": ("Bundles", bundles_page),
}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add generated pages to `Reference`, and to other sections the files of their folders that they do not name."""
    parameters = [{title: path} for path, (title, _) in parameter_pages(ROOT / "conf").items()]
    pages: list[dict[str, Any]] = [{title: path} for path, (title, _) in _PAGES.items()]
    for entry in config.nav or []:
        for title, content in entry.items():
            if title == "Reference":
                entry[title] = [*content, *pages, {"Parameters": parameters}]
            elif isinstance(content, list):
                entry[title] = [*content, *_further(title.lower(), content)]
    return config


def _further(folder: str, named: list[str | dict[str, str]]) -> list[str]:
    """Return the pages of a folder that its section does not name."""
    known = {path for page in named for path in ([page] if isinstance(page, str) else page.values())}
    pages = [f"{folder}/{path.name}" for path in sorted((ROOT / "docs" / folder).glob("*.md"))]
    return [page for page in pages if page not in known]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages themselves."""
    pages = {path: content for path, (_, content) in parameter_pages(ROOT / "conf").items()}
    pages |= {path: make(ROOT) for path, (_, make) in _PAGES.items()}
    pages["changelog.md"] = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    for path, content in pages.items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace each block of Mermaid by a drawing of it."""
    return _MERMAID.sub(lambda block: draw(block[1]), markdown)
