"""Recordings that lie inside a Parquet file, addressed like a path: ``clips.parquet#audio:12:mix``.

The address names the column (a struct with ``bytes``, as Hugging Face's audio folders have it, or plain binary), the
row, and the channel (``mix`` is the mean of all). Rows read in order are streamed: a reader keeps its place and has
one page of the file in memory, which writers commonly make a row group of a hundred rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from speech.errors import AudioError

if TYPE_CHECKING:
    import pyarrow.parquet as pq

_ADDRESS = re.compile(r"(.+\.parquet)#([^#:]+):(\d+):(\d+|mix)$")
BATCH_ROWS = 16


@dataclass(frozen=True)
class Place:
    """A recording inside a file: the file, the column, the row, and the channel or None for the mean of all."""

    file: Path
    column: str
    row: int
    channel: int | None


def address(file: str, column: str, row: int, channel: int | None) -> str:
    """Return the path-like name of a recording inside ``file``."""
    return f"{file}#{column}:{row:07d}:{'mix' if channel is None else channel}"


def locate(path: Path | str) -> Place | None:
    """Return where a path-like name points, or None if it is an ordinary path."""
    match = _ADDRESS.match(str(path))
    if match is None:
        return None
    return Place(Path(match[1]), match[2], int(match[3]), None if match[4] == "mix" else int(match[4]))


def file_of(path: Path | str) -> Path:
    """Return the file on disk that holds a recording."""
    place = locate(path)
    return Path(path) if place is None else place.file


def read_bytes(place: Place) -> bytes:
    """Read the encoded recording at a place.

    Raises:
        AudioError: the file is missing or damaged, or has no such column or row, or nothing is there.
    """
    global _cursor
    if _cursor is None or not _cursor.reaches(place):
        _cursor = _Cursor(place)
    return _cursor.read(place)


class _Cursor:
    """A cursor that reads forward through one row group of one column, a few rows in memory at a time."""

    def __init__(self, place: Place) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.file, self.column = place.file, place.column
        try:
            self.state = place.file.stat().st_mtime_ns
            parquet = pq.ParquetFile(place.file, buffer_size=1 << 20)
        except (pa.ArrowException, OSError) as error:
            raise AudioError(f"{place.file}: not a readable Parquet file ({_first_line(error)})") from None
        if place.column not in parquet.schema_arrow.names:
            raise AudioError(f"{place.file}: no column '{place.column}'; found {', '.join(parquet.schema_arrow.names)}")
        self.start, group = 0, 0
        while group < parquet.num_row_groups - 1 and place.row >= self.start + _rows(parquet, group):
            self.start += _rows(parquet, group)
            group += 1
        self.end = self.start + (_rows(parquet, group) if parquet.num_row_groups else 0)
        if not self.start <= place.row < self.end:
            raise AudioError(f"{place.file}: has no row {place.row}")
        self.next = self.start
        self.values = _stream(parquet, group, place.column)
        self.last: tuple[int, bytes | None] = (-1, None)

    def reaches(self, place: Place) -> bool:
        """Return whether the place lies ahead in this row group of the same, unchanged file."""
        if (place.file, place.column) != (self.file, self.column) or not place.file.is_file():
            return False
        same = place.file.stat().st_mtime_ns == self.state
        return same and (place.row == self.last[0] or self.next <= place.row < self.end)

    def read(self, place: Place) -> bytes:
        """Go forward to the row."""
        import pyarrow as pa

        if place.row != self.last[0]:
            try:
                while self.next <= place.row:
                    value = next(self.values)
                    self.next += 1
            except (pa.ArrowException, OSError, StopIteration) as error:
                self.end = self.next
                raise AudioError(f"{self.file}: damaged Parquet file ({_first_line(error)})") from None
            self.last = (place.row, value)
        if not self.last[1]:
            raise AudioError(f"{self.file}: row {place.row} holds no recording in column '{self.column}'")
        return self.last[1]


_cursor: _Cursor | None = None


def _stream(parquet: pq.ParquetFile, group: int, column: str) -> Iterator[bytes | None]:
    """Yield the column's values. No method: a cursor that it kept alive would keep its row group in memory."""
    from pyarrow.types import is_struct

    columns = [f"{column}.bytes"] if is_struct(parquet.schema_arrow.field(column).type) else [column]
    for batch in parquet.iter_batches(BATCH_ROWS, row_groups=[group], columns=columns, use_threads=False):
        for value in batch.column(0):
            read = value.as_py()
            yield read["bytes"] if isinstance(read, dict) else read


def _rows(parquet: pq.ParquetFile, group: int) -> int:
    return int(parquet.metadata.row_group(group).num_rows)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
