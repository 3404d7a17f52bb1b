"""The reference pages of parameters: every file of ``conf/`` with its values and what its comments say of them."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import yaml

LONG = 30  # values beyond which a file has a table for each of its sections

_COMMENT = re.compile(r"(?:^|\s)#\s?(.*)$")
_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'")


@dataclass(frozen=True)
class Parameter:
    """One value of a file: its dotted key, the value as it is written (none of a section), and its comments."""

    key: str
    value: str
    meaning: str


def parameter_pages(folder: Path) -> dict[str, tuple[str, str]]:
    """Return title and content by path of a page for each directory of ``folder`` that holds YAML files."""
    groups: dict[Path, list[Path]] = defaultdict(list)
    for path in sorted(folder.rglob("*.yaml")):
        groups[path.parent.relative_to(folder)].append(path)
    pages = {}
    for group, paths in sorted(groups.items()):
        name = "Defaults" if group == Path() else str(group)
        stem = "index" if group == Path() else str(group).replace("/", "-")
        pages[f"reference/parameters/{stem}.md"] = (name, _page(name, paths, folder))
    return pages


def _page(name: str, paths: list[Path], folder: Path) -> str:
    lines = [f"# {name}" if name == "Defaults" else f"# conf/{name}", ""]
    if name == "Defaults":
        lines += [
            "What `params.yaml` is composed from before any choice of a group. `S=` and `-S` take these keys.",
            "",
        ]
    for path in sorted(paths, key=lambda path: path.stem != "base"):
        lines += [f"## {path.relative_to(folder)}", "", *_file(path), ""]
    return "\n".join(lines)


def _file(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    head = [line.lstrip("# ") for line in _leading_comment(text.splitlines()) if "@package" not in line]
    lines = [_escape(" ".join(line for line in head if line)), ""] if any(head) else []
    rows = parameters(text)
    if len(rows) <= LONG:
        return [*lines, *_table(rows)]
    for section, members in groupby(rows, key=lambda row: row.key.split(".")[0]):
        lines += [f"### {section}", "", *_table(list(members)), ""]
    return lines


def _table(rows: list[Parameter]) -> list[str]:
    if not rows:
        return []
    table = [f"| `{row.key}` | {_code(row.value)} | {_escape(row.meaning)} |" for row in rows]
    return ["| key | value | meaning |", "|---|---|---|", *table]


def parameters(text: str) -> list[Parameter]:
    """Return values and commented sections of a document in its order; a mapping in one line is one value."""
    document = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(document, yaml.MappingNode):
        return []
    lines = text.splitlines()
    rows = []
    for key, key_node, node in _entries(document, ""):
        section = _is_section(node)
        meaning = _meaning(lines, key_node, key_node if section else node)
        if meaning or not section:
            rows.append(Parameter(key, "" if section else _value(node, text), meaning))
    return rows


def _entries(mapping: yaml.MappingNode, prefix: str) -> list[tuple[str, yaml.Node, yaml.Node]]:
    """Return every key with its node and its value's, a section before what is in it."""
    found = []
    for key, value in mapping.value:
        name = f"{prefix}{key.value}"
        found.append((name, key, value))
        if _is_section(value):
            found += _entries(value, f"{name}.")
    return found


def _is_section(node: yaml.Node) -> bool:
    return isinstance(node, yaml.MappingNode) and not node.flow_style and bool(node.value)


def _value(node: yaml.Node, text: str) -> str:
    written = text[node.start_mark.index : node.end_mark.index]
    lines = [line.split(" #")[0].strip() for line in written.splitlines() if not line.strip().startswith("#")]
    if isinstance(node, yaml.SequenceNode) and not node.flow_style:
        return ", ".join(line.removeprefix("- ") for line in lines if line)
    return " ".join(lines)


def _meaning(lines: list[str], key: yaml.Node, value: yaml.Node) -> str:
    """Return the comments above a key, beside it or its value's end, and below in a column further right."""
    first, column = key.start_mark.line, key.start_mark.column
    last = value.end_mark.line - (value.end_mark.column == 0)
    above: list[str] = []
    for line in reversed(lines[len(_leading_comment(lines)) : first]):
        if not line.startswith(" " * column + "#"):
            break
        above.insert(0, line.lstrip("# "))
    beside = _comment_of(lines[last]) or _comment_of(lines[first])
    below: list[str] = []
    for line in lines[last + 1 :] if beside else []:
        if not line.lstrip().startswith("#") or len(line) - len(line.lstrip()) <= column:
            break
        below.append(line.lstrip("# "))
    return " ".join(filter(None, [*above, beside, *below]))


def _comment_of(line: str) -> str:
    match = _COMMENT.search(_QUOTED.sub(lambda quoted: "q" * len(quoted[0]), line))
    return line[match.start(1) :].strip() if match else ""


def _leading_comment(lines: list[str]) -> list[str]:
    head = []
    for line in lines:
        if not line.startswith("#"):
            break
        head.append(line)
    return head


def _code(value: str) -> str:
    return f"`{_bars(value)}`" if value else ""


def _escape(text: str) -> str:
    return _bars(text).replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_").replace("[", "\\[")


def _bars(text: str) -> str:
    return text.replace("|", "\\|")
