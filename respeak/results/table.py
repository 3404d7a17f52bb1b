"""One table in many forms: Markdown for people, CSV for spreadsheets, LaTeX for papers, JSON for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from speech.errors import UserError

MISSING = "\N{EN DASH}"
# Stated of a system whose WER is not below that of shuffled units.
NOT_INTELLIGIBLE = "not intelligible"
CLAIMS = "Claims, by the paired difference over the same utterances with its 95 % bootstrap interval (below 0: yes):"


@dataclass(frozen=True)
class Cell:
    """A number with its 95 % interval, where it has one; ``digits`` overrides the column's decimals.

    ``text`` is shown in place of the number: a mean with a half-width, or why there is none.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    digits: int | None = None
    text: str = ""


@dataclass(frozen=True)
class Column:
    """A metric's name, its heading with the unit, and its decimals."""

    name: str
    heading: str
    digits: int = 1


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: unique in its table.
        label: what readers see.
        source: a row of the ``paper``, or one that is only ``measured`` here.
        cells: by the names of columns.
        note: beside the label.
        ours: what is measured in it, where the label is the paper's or another row's too.
    """

    name: str
    label: str
    source: str
    cells: dict[str, Cell]
    note: str = ""
    ours: str = ""


@dataclass(frozen=True)
class Finding:
    """A claim in words and what became of it: yes, no, not shown (the interval holds zero) or not run."""

    words: str
    verdict: str
    value: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def sentence(self) -> str:
        """Return the claim and its verdict: ``soft beats discrete in WER: yes, −4.2 [−6.0, −2.3]``."""
        if self.value is None:
            return f"{self.words}: {self.verdict}"
        return f"{self.words}: {self.verdict}, {format_cell(Cell(self.value, self.low, self.high), 1)}"


@dataclass(frozen=True)
class Table:
    """Columns, rows and what a reader must know about them."""

    title: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    context: dict[str, Any] = field(default_factory=dict)
    findings: Sequence[Finding] = ()


def format_cell(cell: Cell | None, digits: int) -> str:
    """Return ``21.3 [17.0, 25.7]``, without brackets where there is no interval; the cell's text; or an en dash."""
    if cell is None:
        return MISSING
    if cell.text or cell.value is None:
        return cell.text or MISSING
    digits = digits if cell.digits is None else cell.digits
    value = _number(cell.value, digits)
    if cell.low is None or cell.high is None:
        return value
    return f"{value} [{_number(cell.low, digits)}, {_number(cell.high, digits)}]"


def to_markdown(table: Table) -> str:
    """Return a GitHub-flavoured table under its title, the caption below."""
    lines = [f"### {table.title}", ""]
    lines += _markdown_row(["", *(column.heading for column in table.columns), "note"])
    lines += _markdown_row(["---", *("---:" for _ in table.columns), "---"])
    for row in table.rows:
        cells = [format_cell(row.cells.get(column.name), column.digits) for column in table.columns]
        lines += _markdown_row([row.label, *cells, row.note])
    findings = [f"- {finding.sentence}" for finding in table.findings]
    if findings:
        findings = ["", CLAIMS, "", *findings]
    return "\n".join([*lines, "", table.caption, *findings, ""])


def to_csv(table: Table) -> str:
    """Return CSV, one line per row; each metric has a value and its bounds, unrounded."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    bounds = [name for column in table.columns for name in (column.name, f"{column.name}_low", f"{column.name}_high")]
    writer.writerow(["row", "label", "source", *bounds, "note"])
    for row in table.rows:
        cells = [row.cells.get(column.name) for column in table.columns]
        values = [v for c in cells for v in (_plain(c), *((c.low, c.high) if c else (None, None)))]
        writer.writerow([row.name, row.label, row.source, *("" if v is None else v for v in values), row.note])
    return out.getvalue()


def to_measured_csv(table: Table) -> str:
    """Return our numbers alone, one line per row that has any: what ``dvc plots`` draws."""
    ours = [c for c in table.columns if any(_number_of(row, c.name) is not None for row in table.rows)]
    ours = [c for c in ours if not c.name.endswith("_paper")]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["row", *(column.name for column in ours)])
    for row in table.rows:
        values = [_number_of(row, column.name) for column in ours]
        if any(value is not None for value in values):
            writer.writerow([row.ours or row.label, *("" if value is None else value for value in values)])
    return out.getvalue()


def to_latex(table: Table) -> str:
    """Return a ``table`` environment for the booktabs package."""
    body = []
    previous = None
    for row in table.rows:
        if previous not in (None, row.source):
            body.append(r"\midrule")
        previous = row.source
        cells = [_latex(format_cell(row.cells.get(column.name), column.digits)) for column in table.columns]
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
            *(rf"\par {_latex(finding.sentence)}" for finding in table.findings),
            r"\end{table}",
            "",
        ]
    )


def to_json(table: Table) -> dict[str, Any]:
    """Return plain data: title, caption, context, columns and rows with their cells."""
    plain = asdict(table)
    sentences = [finding.sentence for finding in table.findings]
    plain["findings"] = [f | {"sentence": s} for f, s in zip(plain["findings"], sentences, strict=True)]
    return plain


def read_table(path: Path) -> Table:
    """Return the table that :func:`to_json` described in a file.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        rows = [Row(**row | {"cells": {name: Cell(**c) for name, c in row["cells"].items()}}) for row in plain["rows"]]
        columns = [Column(**column) for column in plain["columns"]]
        findings = [Finding(**{k: v for k, v in f.items() if k != "sentence"}) for f in plain["findings"]]
        return Table(plain["title"], plain["caption"], columns, rows, plain["context"], findings)
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run dvc repro tables@{path.parent.name}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not a table ({error!r}); run dvc repro tables@{path.parent.name}") from None


def _plain(cell: Cell | None) -> float | str | None:
    if cell is None:
        return None
    return cell.value if cell.value is not None else cell.text


def _number_of(row: Row, column: str) -> float | None:
    cell = row.cells.get(column)
    return cell.value if cell else None


def _number(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    # A small negative number rounds to "-0.0".
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")


def _markdown_row(cells: Sequence[str]) -> list[str]:
    return ["| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"]


def _latex(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {MISSING: "--", "\N{MINUS SIGN}": "$-$", "\N{PLUS-MINUS SIGN}": r"$\pm$"}
    special |= {character: f"\\{character}" for character in "&%$#_{}"}
    return "".join(special.get(character, character) for character in text)
