"""What README and documentation name: commands, targets, modules, parameters, links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FULL_GRAPH = "<!-- full graph -->"
_FENCE = re.compile(
    r"^(?P<mark><!-- full graph -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_SPAN = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_OVERRIDE = re.compile(r"(?:^|\s|-S )[+]?([a-z][\w./]*)=([^\s,\"]*)")


@dataclass(frozen=True)
class Block:
    """A fenced block; ``full_graph`` where a comment says that it needs one."""

    language: str
    text: str
    full_graph: bool


def pages(project: Path) -> list[Path]:
    """Return the files that people read, README first."""
    return [project / "README.md", project / "CONTRIBUTING.md", *sorted((project / "docs").rglob("*.md"))]


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page in order."""
    found = _FENCE.finditer(page.read_text(encoding="utf-8"))
    return [Block(match["language"], match["text"], bool(match["mark"])) for match in found]


def code(page: Path) -> Iterator[str]:
    """Yield each line of shell and each piece of code within the prose."""
    for block in blocks(page):
        if block.language == "sh":
            yield from (line.split(" #")[0].strip() for line in block.text.splitlines())
    prose = _FENCE.sub("", page.read_text(encoding="utf-8"))
    yield from (" ".join(span.split()) for span in _SPAN.findall(prose))


def links(page: Path) -> list[str]:
    """Return what the page's relative links and pictures point to, without anchors."""
    targets = _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8")))
    return [target.split("#")[0] for target in targets if "://" not in target and not target.startswith("#")]


def overrides(piece: str) -> list[str]:
    """Return the keys that a piece of code gives values to by ``S=``, ``G=``, ``-S`` or as ``key=value`` alone."""
    quoted = re.search(r"\b[SG]=\"([^\"]*)\"", piece)
    if quoted:
        return [key for key, _ in _OVERRIDE.findall(quoted[1])]
    if (
        piece.startswith("make plan")
        or "-S " in piece
        or re.fullmatch(r"[+]?[a-z][\w./]*=\S*( [a-z][\w.]*=\S*)*", piece)
    ):
        return [key for key, _ in _OVERRIDE.findall(piece)]
    return []
