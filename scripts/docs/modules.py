"""The reference page of the code: every module by room, with the first sentence of its docstring."""

from __future__ import annotations

import ast
from pathlib import Path

ROOMS = {
    "flows": "When: Prefect runs the graph.",
    "stages": "What: a file for each stage, and what they share.",
    "respeak": "Use: systems, command line, judges, page.",
    "models": "Nets: pure torch.",
    "speech": "How: signals and data without networks.",
}


def modules_page(root: Path) -> str:
    """Return the page, made from the docstrings; nothing is imported."""
    lines = ["# Modules", ""]
    for room, sentence in ROOMS.items():
        lines += [f"## {room}", "", sentence, "", "| module | what it is |", "|---|---|"]
        for path in sorted((root / room).rglob("*.py")):
            if summary := _summary(path):
                lines.append(f"| `{path.relative_to(root)}` | {summary} |")
        lines.append("")
    return "\n".join(lines)


def _summary(path: Path) -> str:
    paragraph = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n\n")[0]
    return " ".join(paragraph.split()).rstrip(":").replace("``", "`").replace("|", "\\|")
