"""Parquet shards: ``part-00000.parquet ...`` of consecutive utterances, the form of every intermediate.

Shard *i* of every stage of a corpus holds the same utterances in the same order, so stages join by zipping and work
divides by shard. A shard is written whole or not at all, in row groups small enough to stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from speech.errors import UserError
from speech.storage.files import atomic_path

SCHEMA_VERSION = "1"
ROW_GROUP_ROWS = 64
MATRIX_GROUP_ROWS = 16  # 6 MB at 5 s and 768 dimensions: larger ones only leave the processor's cache
MATRIX_DIM = b"dim"  # in the metadata of a column of matrices: how many numbers in a row

_PHONES = pa.list_(pa.struct([("phone", pa.string()), ("start", pa.float32()), ("end", pa.float32())]))

MANIFEST = pa.schema(
    [
        ("id", pa.string()),
        ("path", pa.string()),
        ("speaker", pa.string()),
        ("text", pa.string()),
        ("language", pa.string()),
        ("split", pa.string()),
        ("sample_rate", pa.int32()),
        ("num_samples", pa.int64()),
        ("phones", _PHONES),
    ]
)
REJECTS = pa.schema([("path", pa.string()), ("stage", pa.string()), ("reason", pa.string())])
AUDIO = pa.schema(
    [
        ("id", pa.string()),
        ("speaker", pa.string()),
        ("text", pa.string()),
        ("language", pa.string()),
        ("split", pa.string()),
        ("num_samples", pa.int64()),
        ("num_speech", pa.int64()),
        ("audio", pa.binary()),
        ("phones", _PHONES),
    ]
)
UNITS = pa.schema([("id", pa.string()), ("units", pa.list_(pa.uint16()))])
F0 = pa.schema([("id", pa.string()), ("f0", pa.list_(pa.float32()))])
SYNTHESIS = pa.schema(
    [
        ("id", pa.string()),
        ("source_id", pa.string()),
        ("source_speaker", pa.string()),
        ("target_speaker", pa.string()),
        ("text", pa.string()),
        ("num_samples", pa.int64()),
        ("audio", pa.binary()),
    ]
)


def features_schema(dim: int, extra_layers: Sequence[int] = ()) -> pa.Schema:
    """Return the schema of feature shards: per utterance ``(N, dim)`` float16 frames, and other layers' beside them.

    Frames are bytes, row by row, little-endian, uncompressed; the column's metadata states ``dim``. As nested lists
    Parquet takes fifty times as long to read them.
    """
    metadata = {MATRIX_DIM: str(dim), b"dtype": "float16"}
    names = ["features", *(f"features_{layer}" for layer in extra_layers)]
    matrices = [pa.field(name, pa.binary(), metadata=metadata) for name in names]
    return pa.schema([("id", pa.string()), ("speaker", pa.string()), ("num_frames", pa.int32()), *matrices])


def speakers_schema(dim: int) -> pa.Schema:
    """Return the schema of d-vector shards: per utterance one ``(dim,)`` float32 speaker embedding."""
    return pa.schema([("id", pa.string()), ("speaker", pa.string()), ("embedding", pa.list_(pa.float32(), dim))])


def shard_name(index: int) -> str:
    """Return the file name of shard ``index``."""
    return f"part-{index:05d}.parquet"


def shard_paths(directory: Path | str) -> list[Path]:
    """List the shards of a directory in order.

    Raises:
        UserError: the directory is missing or holds no shard.
    """
    paths = sorted(Path(directory).glob("part-*.parquet"))
    if not paths:
        raise UserError(f"{directory}: no shards (part-*.parquet) found; run the stage that makes them first")
    return paths


def write_shard(
    path: Path | str, rows: Iterable[Mapping[str, Any]], schema: pa.Schema, meta: Mapping[str, Any] | None = None
) -> int:
    """Write rows (mappings from column to value, numpy arrays for list columns) and return how many there were."""
    text = {key: str(value) for key, value in {"schema_version": SCHEMA_VERSION, **(meta or {})}.items()}
    schema = schema.with_metadata(text)
    count = 0
    plain = [field.name for field in schema if not _is_matrix(field)]
    # Frames hardly compress, and neither a dictionary nor the least and greatest of them tells anything.
    encoding: dict[str, Any] = {"compression": "zstd", "write_page_checksum": True}
    size = ROW_GROUP_ROWS
    if len(plain) < len(schema):
        size = MATRIX_GROUP_ROWS
        encoding |= {"compression": "none", "use_dictionary": plain, "write_statistics": plain}
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema, **encoding) as writer:
        for group in _groups(rows, size):
            columns = [_column([row.get(field.name) for row in group], field) for field in schema]
            writer.write_table(pa.table(columns, schema=schema))
            count += len(group)
    return count


def read_shard(path: Path | str, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """Stream a shard's rows, one row group in memory at a time.

    List columns come back as numpy arrays: ``(N,)``, or ``(N, D)`` for features.

    Raises:
        UserError: the shard is missing, damaged or lacks a column.
    """
    with _open(path) as file:
        known = file.schema_arrow.names
        if columns is not None and (lacking := [name for name in columns if name not in known]):
            raise UserError(f"{path}: column '{lacking[0]}' is missing; the shard has {', '.join(known)}")
        for group in range(file.num_row_groups):
            values = _group_values(file, group, columns, path)
            for index in range(file.metadata.row_group(group).num_rows):
                yield {name: column[index] for name, column in values.items()}
            # Its memory is warm, and the next group's to take.
            del values


def read_group(path: Path | str, group: int, columns: Sequence[str] | None = None) -> dict[str, Sequence[Any]]:
    """Read one row group of a shard as columns; for readers that visit groups in an order of their own.

    Raises:
        UserError: the shard is missing or damaged.
    """
    with _open(path) as file:
        return _group_values(file, group, columns, path)


def read_rows(directory: Path | str, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """Stream the rows of all shards of a directory in order."""
    for path in shard_paths(directory):
        yield from read_shard(path, columns)


def zip_shards(
    *paths: Path | str, columns: Sequence[Sequence[str] | None] | None = None
) -> Iterator[tuple[dict[str, Any], ...]]:
    """Stream the rows of shards of the same index side by side.

    Raises:
        UserError: the shards differ in length or in the ids of a row.
    """
    chosen = columns or [None] * len(paths)
    readers = [read_shard(path, names) for path, names in zip(paths, chosen, strict=True)]
    try:
        for rows in zip(*readers, strict=True):
            if len({row["id"] for row in rows}) > 1:
                found = " and ".join(f"'{row['id']}' in {path}" for row, path in zip(rows, paths, strict=True))
                raise UserError(f"shards do not hold the same utterances: {found}; run 'dvc repro' again")
            yield rows
    except ValueError as error:
        if "zip()" not in str(error):
            raise
        names = ", ".join(map(str, paths))
        raise UserError(f"shards differ in their number of rows: {names}; run 'dvc repro' again") from None


def shard_meta(path: Path | str) -> dict[str, str]:
    """Read the shard's own metadata: schema version and what its writer stated (stage, rates, fingerprint)."""
    with _open(path) as file:
        raw = file.schema_arrow.metadata or {}
    return {key.decode(): value.decode() for key, value in raw.items()}


def _open(path: Path | str) -> pq.ParquetFile:
    # Arrow's read-ahead, meant for object stores, would copy a mapped file once more.
    how: dict[str, Any] = {"memory_map": True, "pre_buffer": False}
    try:
        file = pq.ParquetFile(path, **how)
        if any(map(_is_matrix, file.schema_arrow)):  # to sum up their bytes takes longer than to read them
            return file
        with file:
            return pq.ParquetFile(path, metadata=file.metadata, page_checksum_verification=True, **how)
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run the stage that makes it first") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise _damaged(path, error) from None


def _group_values(
    file: pq.ParquetFile, group: int, columns: Sequence[str] | None, path: Path | str
) -> dict[str, Sequence[Any]]:
    try:
        table = file.read_row_group(group, columns=None if columns is None else list(columns))
    except (pa.ArrowInvalid, OSError) as error:
        raise _damaged(path, error) from None
    return {field.name: _values(table.column(field.name), field) for field in table.schema}


def _damaged(path: Path | str, error: Exception) -> UserError:
    reason = str(error).splitlines()[0]
    return UserError(f"{path}: damaged shard ({reason}); delete it and run 'dvc repro' to make it again")


def _groups(rows: Iterable[Mapping[str, Any]], size: int) -> Iterator[list[Mapping[str, Any]]]:
    group: list[Mapping[str, Any]] = []
    for row in rows:
        group.append(row)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _is_matrix(field: pa.Field) -> bool:
    return pa.types.is_binary(field.type) and MATRIX_DIM in (field.metadata or {})


def _column(values: Sequence[Any], field: pa.Field) -> pa.Array:
    """Make a column of numbers through one flat buffer: Arrow lists built by element are a hundred times slower."""
    kind = field.type
    if _is_matrix(field):
        return pa.array([np.ascontiguousarray(value, dtype="<f2").tobytes() for value in values], kind)
    if not pa.types.is_list(kind) or pa.types.is_struct(kind.value_type):
        return pa.array([v.tolist() if isinstance(v, np.ndarray) else v for v in values], kind)
    arrays = [np.asarray(value) for value in values]
    offsets = pa.array(np.cumsum([0, *(len(a) for a in arrays)]), pa.int32())
    flat = np.concatenate(arrays) if arrays else np.zeros(0)
    return pa.ListArray.from_arrays(offsets, pa.array(flat.astype(_dtype(kind.value_type))))


def _dtype(kind: pa.DataType) -> np.dtype:
    """Return NumPy's name of a number type; Arrow's own ``to_pandas_dtype`` wants pandas installed."""
    return pa.array([], kind).to_numpy(zero_copy_only=False).dtype


def _values(column: pa.ChunkedArray, field: pa.Field) -> Sequence[Any]:
    # Chunks are combined by copying even when there is only one.
    array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    kind = array.type
    if _is_matrix(field):
        return _matrices(array, int(field.metadata[MATRIX_DIM]))
    if pa.types.is_fixed_size_list(kind):
        return array.flatten().to_numpy(zero_copy_only=False).reshape(len(array), kind.list_size)
    if not pa.types.is_list(kind) or pa.types.is_struct(kind.value_type):
        return array.to_pylist()
    numbers = array.flatten().to_numpy(zero_copy_only=False)
    offsets = array.offsets.to_numpy()
    offsets = offsets - offsets[0]
    return [numbers[a:b] for a, b in pairwise(offsets)]


def _matrices(array: pa.BinaryArray, dim: int) -> list[np.ndarray]:
    """Return views of the column's one buffer; Arrow's own values are copies."""
    _, offsets, data = array.buffers()
    bounds = np.frombuffer(offsets, np.int32)[array.offset : array.offset + len(array) + 1] // (2 * dim)
    frames = np.frombuffer(data or b"", "<f2")
    frames = frames[: len(frames) // dim * dim].reshape(-1, dim)
    return [frames[a:b] for a, b in pairwise(bounds)]
