"""Tables in a terminal: the rows that were run and the few columns that matter, at most :data:`WIDTH` columns wide.

The whole table, thirty columns with the paper's own and the rows that were not run, lies in its files.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from respeak.results.columns import MEASURED
from respeak.results.measured import SHUFFLED, TRUTH, UNTRAINED
from respeak.results.table import MISSING, NOT_INTELLIGIBLE, Cell, Column, Row, Table, format_cell, read_table

if TYPE_CHECKING:
    from rich.console import RenderableType

WIDTH = 100
COLUMNS = 5
HEADING_WIDTH, TEXT_WIDTH = 10, 20
MARK = "*"
# What a table shows first, and after its paper's own columns.
FIRST = "wer"
NEXT = ("speaker_accuracy", "ffe", "eer", "vde", "f0_rmse_cents", "mcd")


def summarise(table: Table, whole: str) -> str:
    """Return a table's summary, no line longer than :data:`WIDTH` columns, or that nothing of it was run.

    Args:
        table: to be shown; its rows without a number of ours are left out.
        whole: where all of it lies, for the reader.
    """
    rows = [row for row in table.rows if _is_run(row, table.columns)]
    title = _fill(table.title)
    if not rows:
        return f"{title}\n{_fill(f'Nothing of it was run. Whole table: {whole}')}"
    columns = choose_columns(table, rows)
    return "\n".join([title, "", _draw(rows, columns), "", *_remarks(table, rows, columns[0], whole)])


def choose_columns(table: Table, rows: Sequence[Row]) -> list[Column]:
    """Return at most :data:`COLUMNS` columns in which some row has a number: the paper's own, words first; `NEXT`."""
    ours = [column for column in table.columns if _has_number(rows, column)]
    published = {column.name.removesuffix("_paper") for column in table.columns if column.name.endswith("_paper")}
    known = [*NEXT, *(column.name for column in MEASURED)]

    def rank(column: Column) -> tuple[bool, bool, int]:
        is_published = column.name in published
        place = 0 if is_published else known.index(column.name) if column.name in known else len(known)
        return not is_published, column.name != FIRST, place

    return sorted(ours, key=rank)[:COLUMNS]


def holds_a_system(table: Table) -> bool:
    """Return whether anything but what bounds the judges (recordings, shuffled units, an untrained model) was run."""
    rows = [row for row in table.rows if _is_run(row, table.columns)]
    truth = TRUTH.replace("_", " ")
    return any(row.name not in (TRUTH, SHUFFLED, UNTRAINED) and not row.ours.startswith(truth) for row in rows)


def summarise_folder(folder: Path, names: Sequence[str] = ()) -> str:
    """Return the summaries of the tables under ``folder``: those named, or all of which a system was run.

    Raises:
        UserError: a table of ``names`` is not there, or a file is no table.
    """
    found = list(names) or sorted(path.parent.name for path in folder.glob("*/table.json"))
    tables = {name: read_table(folder / name / "table.json") for name in found}
    shown = [name for name in found if names or holds_a_system(tables[name])]
    parts = [summarise(tables[name], f"{folder / name}/table.md") for name in shown]
    if others := [name for name in found if name not in shown]:
        parts.append(_fill(f"No system of these was run: {', '.join(others)}. With what bounds the judges: {folder}/"))
    return "\n\n\n".join(parts)


def _is_run(row: Row, columns: Iterable[Column]) -> bool:
    return any(_has_number([row], column) for column in columns)


def _has_number(rows: Sequence[Row], column: Column) -> bool:
    """Return whether a row has a number of ours in the column."""
    cells = [row.cells.get(column.name) for row in rows]
    return not column.name.endswith("_paper") and any(cell and cell.value is not None for cell in cells)


def _draw(rows: Sequence[Row], columns: Sequence[Column]) -> str:
    """Return the grid: the first column with its intervals and the paper's values, the others without."""
    from rich import box
    from rich.table import Table as Grid
    from rich.text import Text

    first, *others = columns
    published = Column(f"{first.name}_paper", "paper")
    shown = [first, *([published] if any(published.name in row.cells for row in rows) else []), *others]
    grid = Grid(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False)
    grid.add_column("", overflow="fold")
    for column in shown:
        heading = textwrap.fill(_clean(_heading(column)), HEADING_WIDTH)
        grid.add_column(Text(heading), justify="right", no_wrap=True, overflow="ellipsis", max_width=TEXT_WIDTH)
    for row in rows:
        cells = [_show(row.cells.get(column.name), column.digits, column is first) for column in shown]
        grid.add_row(*(Text(_clean(text)) for text in [_label(row), *cells]))
    return _print(grid)


def _remarks(table: Table, rows: Sequence[Row], first: Column, whole: str) -> list[str]:
    """Return what was claimed of the numbers and became of it, what they mean, and where the rest lies."""
    context = table.context
    interval = any(cell.low is not None for row in rows if (cell := row.cells.get(first.name)))
    stated = [
        f"Scale {context['scale']}" if "scale" in context else "",
        f"{context['utterances']} utterances" if "utterances" in context else "",
        f"words by {context['asr']}" if "asr" in context else "",
        f"{_heading(first)} with its 95 % interval" if interval else "",
        f"{MARK} {NOT_INTELLIGIBLE}" if any(NOT_INTELLIGIBLE in row.note for row in rows) else "",
        f"whole table: {whole}",
    ]
    settled = [finding.sentence for finding in table.findings if finding.value is not None]
    return [_fill(line) for line in [*settled, "; ".join(filter(None, stated)) + "."]]


def _heading(column: Column) -> str:
    return column.heading.removesuffix(" (ours)")


def _label(row: Row) -> str:
    """Return the name of what is ours in the row, marked where it is not intelligible."""
    ours = row.ours.removesuffix(f" (row '{row.label}')") or row.label
    return f"{ours} {MARK}" if NOT_INTELLIGIBLE in row.note else ours


def _show(cell: Cell | None, digits: int, with_interval: bool) -> str:
    """Return a number, or an en dash: that something is not run is no news beside what is."""
    if cell is None or cell.value is None:
        return MISSING
    return format_cell(cell if with_interval else replace(cell, low=None, high=None), digits)


def _clean(text: str) -> str:
    """Return the text without what would move a terminal's cursor."""
    return "".join(character if character.isprintable() else " " for character in text)


def _fill(text: str) -> str:
    from rich.text import Text

    return _print(Text(_clean(text)))


def _print(what: RenderableType) -> str:
    """Return what rich prints of it into :data:`WIDTH` columns, without colours."""
    from rich.console import Console

    out = io.StringIO()
    Console(file=out, width=WIDTH, color_system=None, legacy_windows=False).print(what)
    return "\n".join(line.rstrip() for line in out.getvalue().rstrip().splitlines())
