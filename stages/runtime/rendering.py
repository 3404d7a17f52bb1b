"""One table, four forms: Markdown for people, CSV for spreadsheets, LaTeX for papers, JSON for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

MISSING = "\N{EN DASH}"


@dataclass(frozen=True)
class Cell:
    """A number with its 95 % interval, where it has one; ``digits`` overrides the column's decimals."""

    value: float
    low: float | None = None
    high: float | None = None
    digits: int | None = None


@dataclass(frozen=True)
class Column:
    """A metric's name, its heading with the unit, and its decimals."""

    name: str
    heading: str
    digits: int = 1


@dataclass(frozen=True)
class Row:
    """One line of the table; ``source`` tells measured from published values."""

    name: str
    label: str
    source: str
    cells: dict[str, Cell]
    note: str = ""


@dataclass(frozen=True)
class Table:
    """Columns, rows and what a reader must know about them."""

    title: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    context: dict[str, Any] = field(default_factory=dict)


def format_cell(cell: Cell | None, digits: int) -> str:
    """``21.3 [17.0, 25.7]``, without the bracket where there is no interval, or an en dash."""
    if cell is None:
        return MISSING
    digits = digits if cell.digits is None else cell.digits
    value = _number(cell.value, digits)
    if cell.low is None or cell.high is None:
        return value
    return f"{value} [{_number(cell.low, digits)}, {_number(cell.high, digits)}]"


def to_markdown(table: Table) -> str:
    """A GitHub-flavoured table under its title, the caption below."""
    lines = [f"### {table.title}", ""]
    lines += _markdown_row(["", *(column.heading for column in table.columns), "note"])
    lines += _markdown_row(["---", *("---:" for _ in table.columns), "---"])
    for row in table.rows:
        cells = [format_cell(row.cells.get(column.name), column.digits) for column in table.columns]
        lines += _markdown_row([row.label, *cells, row.note])
    return "\n".join([*lines, "", table.caption, ""])


def to_csv(table: Table) -> str:
    """One line per row; each metric has a value and its bounds, unrounded."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    bounds = [name for column in table.columns for name in (column.name, f"{column.name}_low", f"{column.name}_high")]
    writer.writerow(["row", "label", "source", *bounds, "note"])
    for row in table.rows:
        cells = [row.cells.get(column.name) for column in table.columns]
        values = [v for c in cells for v in ((c.value, c.low, c.high) if c else (None, None, None))]
        writer.writerow([row.name, row.label, row.source, *("" if v is None else v for v in values), row.note])
    return out.getvalue()


def to_latex(table: Table) -> str:
    """A ``table`` environment for the booktabs package."""
    body = []
    previous = None
    for row in table.rows:
        if previous not in (None, row.source):
            body.append(r"\midrule")
        previous = row.source
        cells = [
            format_cell(row.cells.get(column.name), column.digits).replace(MISSING, "--") for column in table.columns
        ]
        body.append(" & ".join([_latex(row.label), *cells, _latex(row.note)]) + r" \\")
    headings = " & ".join(["", *(_latex(column.heading) for column in table.columns), ""])
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{_latex(table.title + '. ' + table.caption)}}}",
            rf"\begin{{tabular}}{{l{'r' * len(table.columns)}l}}",
            r"\toprule",
            headings + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def to_json(table: Table) -> dict[str, Any]:
    """Plain data: title, caption, context, columns and rows with their cells."""
    return asdict(table)


def _number(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    # A small negative number rounds to "-0.0".
    return text.lstrip("-") if float(text) == 0 else text


def _markdown_row(cells: Sequence[str]) -> list[str]:
    return ["| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"]


def _latex(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {MISSING: "--", "\N{MINUS SIGN}": "$-$"}
    special |= {character: f"\\{character}" for character in "&%$#_{}"}
    return "".join(special.get(character, character) for character in text)
