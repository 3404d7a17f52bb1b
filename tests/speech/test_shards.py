"""Shards: what goes in comes out, in order, streamed, and damage is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from speech.errors import UserError
from speech.storage.files import atomic_path, write_json
from speech.storage.shards import (
    F0,
    UNITS,
    features_schema,
    read_rows,
    read_shard,
    shard_meta,
    shard_name,
    shard_paths,
    speakers_schema,
    write_shard,
    zip_shards,
)


def units_rows(count: int, start: int = 0) -> list[dict]:
    return [{"id": f"u{i:04d}", "units": np.arange(i % 7)} for i in range(start, start + count)]


def test_features_come_back_as_matrices(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [
        {"id": f"u{n}", "speaker": "a", "num_frames": n, "features": rng.normal(size=(n, 5)).astype(np.float16)}
        for n in [3, 0, 200, 1]
    ]
    path = tmp_path / shard_name(0)
    assert write_shard(path, rows, features_schema(5), {"hop": 320}) == 4
    for row, back in zip(rows, read_shard(path), strict=True):
        np.testing.assert_array_equal(row["features"], back["features"])
        assert back["features"].shape == row["features"].shape
    assert shard_meta(path) == {"schema_version": "1", "hop": "320"}


def test_pandas_reads_a_shard(tmp_path: Path) -> None:
    path = tmp_path / shard_name(0)
    write_shard(path, [{"id": "a", "speaker": "s", "embedding": np.arange(4.0)}], speakers_schema(4))
    assert pd.read_parquet(path).embedding[0].tolist() == [0, 1, 2, 3]


def test_row_groups_bound_memory(tmp_path: Path) -> None:
    path = tmp_path / shard_name(0)
    write_shard(path, units_rows(200), UNITS)
    assert pq.ParquetFile(path).num_row_groups == 4
    assert [row["id"] for row in read_shard(path, ["id"])] == [f"u{i:04d}" for i in range(200)]


def test_rows_of_all_shards_in_order(tmp_path: Path) -> None:
    write_shard(tmp_path / shard_name(1), units_rows(5, 5), UNITS)
    write_shard(tmp_path / shard_name(0), units_rows(5), UNITS)
    assert [row["id"] for row in read_rows(tmp_path)] == [f"u{i:04d}" for i in range(10)]


def test_zip_refuses_other_utterances(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.parquet", units_rows(3), UNITS)
    write_shard(tmp_path / "b.parquet", [{"id": f"u{i:04d}", "f0": np.ones(2)} for i in range(3)], F0)
    write_shard(tmp_path / "c.parquet", units_rows(3, 1), UNITS)
    write_shard(tmp_path / "d.parquet", units_rows(2), UNITS)
    assert len(list(zip_shards(tmp_path / "a.parquet", tmp_path / "b.parquet"))) == 3
    with pytest.raises(UserError, match=r"'u0000' in .*a.parquet and 'u0001' in .*c.parquet"):
        list(zip_shards(tmp_path / "a.parquet", tmp_path / "c.parquet"))
    with pytest.raises(UserError, match="number of rows"):
        list(zip_shards(tmp_path / "a.parquet", tmp_path / "d.parquet"))


def test_one_wrong_bit_among_the_data_is_found(tmp_path: Path) -> None:
    path = tmp_path / shard_name(0)
    write_shard(path, units_rows(100), UNITS)
    column = pq.ParquetFile(path).metadata.row_group(0).column(1)
    data = bytearray(path.read_bytes())
    data[column.data_page_offset + column.total_compressed_size - 9] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"part-00000.parquet: damaged shard"):
        list(read_shard(path))


@pytest.mark.parametrize("damage", ["truncated", "empty", "overwritten"])
def test_damaged_shard_is_one_line_that_names_it(tmp_path: Path, damage: str) -> None:
    path = tmp_path / shard_name(0)
    write_shard(path, units_rows(100), UNITS)
    data = path.read_bytes()
    middle = len(data) // 2
    overwritten = b"PAR1" + b"\0" * middle + data[middle + 4 :]
    path.write_bytes({"truncated": data[:middle], "empty": b"", "overwritten": overwritten}[damage])
    with pytest.raises(UserError, match=r"part-00000.parquet: damaged shard") as error:
        list(read_shard(path))
    assert "\n" not in str(error.value)


def test_missing_shards_and_columns(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no shards"):
        shard_paths(tmp_path)
    write_shard(tmp_path / shard_name(0), units_rows(1), UNITS)
    with pytest.raises(UserError, match="column 'f0' is missing"):
        list(read_rows(tmp_path, ["f0"]))


def test_atomic_path_leaves_the_old_file_when_the_writer_fails(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == '{\n  "a": 1\n}\n'
    assert list(tmp_path.iterdir()) == [path]


def test_frames_are_plain_bytes_to_any_other_reader(tmp_path: Path) -> None:
    frames = [np.arange(n * 3, dtype=np.float16).reshape(n, 3) for n in (5, 0, 40)]
    rows = [{"id": str(i), "speaker": "a", "num_frames": len(f), "features": f} for i, f in enumerate(frames)]
    write_shard(tmp_path / "s.parquet", rows, features_schema(3))
    table = pq.read_table(tmp_path / "s.parquet")
    assert table.schema.field("features").metadata[b"dim"] == b"3"
    for raw, expected in zip(table.column("features").to_pylist(), frames, strict=True):
        assert np.array_equal(np.frombuffer(raw, "<f2").reshape(-1, 3), expected)
