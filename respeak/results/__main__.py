"""``python -m respeak.results [TABLE ...] [--all]``: print the measured tables of this folder's ``tables/``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from respeak.results.console import summarise_folder
from speech.errors import UserError

FOLDER = Path("tables")


def main(arguments: list[str] | None = None) -> int:
    """Print the tables; return 2 where there are none, or none of a name."""
    parser = argparse.ArgumentParser(prog="python -m respeak.results", description=__doc__)
    parser.add_argument("tables", nargs="*", metavar="TABLE", help="as in tables/TABLE; all if none is named")
    parser.add_argument("--all", action="store_true", help="every row and column, as Markdown")
    options = parser.parse_args(arguments)
    try:
        known = sorted(path.parent.name for path in FOLDER.glob("*/table.json"))
        if not known:
            raise UserError(f"{FOLDER}/: no tables yet; run make reproduce")
        if unknown := [name for name in options.tables if name not in known]:
            raise UserError(f"{FOLDER}/{unknown[0]}: no such table; there are {', '.join(known)}")
        names = options.tables
        whole = [(FOLDER / name / "table.md").read_text(encoding="utf-8") for name in names or known]
        print("\n".join(whole) if options.all else summarise_folder(FOLDER, names))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
