"""Foreign formats of units, written here by hand as their projects write them."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech.errors import UserError
from speech.storage.shards import AUDIO, MANIFEST, UNITS, read_rows, shard_meta, shard_paths, write_shard
from speech.unit_formats import detect_format, export_units, import_units, open_units, parse_units

UTTERANCES = {"LJ001-0001": [5, 5, 12, 0], "LJ001-0002": [99], "LJ001-0003": [7, 65535, 7]}


def spaced(units: list[int]) -> str:
    return " ".join(map(str, units))


def write(folder: Path, kind: str) -> Path:
    """The utterances as another project has them."""
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "codes":
        path = folder / "units.txt"
        path.write_text("".join(f"{name}|{spaced(units)}\n" for name, units in UTTERANCES.items()))
    elif kind == "cpc":
        path = folder / "units.txt"
        path.write_text("".join(f"{name}\t{','.join(map(str, units))}\n" for name, units in UTTERANCES.items()))
    elif kind == "dict":
        path = folder / "train.txt"
        lines = [
            f"{{'audio': 'data/LJ/{name}.wav', 'hubert': '{spaced(units)}', 'duration': 1.5}}"
            for name, units in UTTERANCES.items()
        ]
        path.write_text("\n".join(lines))
    elif kind == "km":
        path = folder / "train.km"
        path.write_text("".join(f"{spaced(units)}\n" for units in UTTERANCES.values()))
        rows = "".join(f"sub/{name}.wav\t{320 * len(units)}\n" for name, units in UTTERANCES.items())
        (folder / "train.tsv").write_text("/corpus\n" + rows)
    else:
        path = folder
        for name, units in UTTERANCES.items():
            np.save(folder / f"{name}.npy", np.array(units))
    return path


@pytest.mark.parametrize("kind", ["codes", "cpc", "dict", "km", "npy"])
def test_every_format_is_recognised_and_read(tmp_path: Path, kind: str) -> None:
    source = write(tmp_path / "in", kind)
    named = detect_format(source)
    assert named == ("codes" if kind == "cpc" else kind)
    largest = import_units(open_units(source, named), tmp_path / "out")
    assert largest == 65535
    assert {row["id"]: row["units"].tolist() for row in read_rows(tmp_path / "out")} == UTTERANCES
    with pytest.raises(UserError, match="holds shards already"):
        import_units(open_units(source, named), tmp_path / "out")


def test_one_array_is_one_utterance(tmp_path: Path) -> None:
    folder = write(tmp_path / "in", "npy")
    one = folder / "LJ001-0003.npy"
    found = open_units(one, detect_format(one))
    assert (found.names, found.read(0).tolist()) == (["LJ001-0003"], UTTERANCES["LJ001-0003"])


@pytest.fixture()
def corpus(tmp_path: Path) -> Path:
    """A corpus of two audio shards whose recordings have one frame more than fairseq's units."""
    folder = tmp_path / "data/lj"
    rows = [
        {"id": name, "num_samples": 320 * (len(units) + 1), "path": f"wavs/{name}.wav"}
        for name, units in UTTERANCES.items()
    ]
    write_shard(folder / "audio/part-00000.parquet", rows[:2], AUDIO)
    write_shard(folder / "audio/part-00001.parquet", rows[2:], AUDIO)
    write_shard(folder / "corpus/manifest.parquet", rows, MANIFEST, {"root": "/corpus"})
    return folder


def test_units_come_out_in_the_shards_of_the_corpus(tmp_path: Path, corpus: Path) -> None:
    found = open_units(write(tmp_path / "in", "codes"), "codes")
    import_units(found, corpus / "units", corpus / "audio")
    shards = shard_paths(corpus / "units")
    assert [path.name for path in shards] == ["part-00000.parquet", "part-00001.parquet"]
    got = {row["id"]: row["units"].tolist() for row in read_rows(corpus / "units")}
    assert got == {name: [*units, units[-1]] for name, units in UTTERANCES.items()}
    assert shard_meta(shards[0])["hop"] == "320"
    with pytest.raises(UserError, match=r"'LJ001-0001': 4 units for 10 frames .* --hop"):
        import_units(found, tmp_path / "other", corpus / "audio", hop=160)


def test_an_utterance_without_units_is_named(tmp_path: Path, corpus: Path) -> None:
    source = tmp_path / "units.txt"
    source.write_text("LJ001-0001|1 2 3 4\nLJ001-0002|1\n")
    with pytest.raises(UserError, match="'LJ001-0003' has no units"):
        import_units(open_units(source, "codes"), tmp_path / "out", corpus / "audio")


@pytest.mark.parametrize("kind", ["codes", "dict", "km", "npy"])
def test_export_is_what_the_other_projects_parse(tmp_path: Path, corpus: Path, kind: str) -> None:
    import_units(open_units(write(tmp_path / "in", "npy"), "npy"), corpus / "units", corpus / "audio")
    expected = {name: [*units, units[-1]] for name, units in UTTERANCES.items()}
    output = tmp_path / "out"
    assert export_units(corpus, output, kind) == 3
    if kind == "codes":
        got = {line.split("|")[0]: line.split("|")[1] for line in output.read_text().splitlines()}
    elif kind == "dict":
        entries = [ast.literal_eval(line) for line in output.read_text().splitlines()]
        assert [list(entry) for entry in entries] == [["audio", "hubert", "duration"]] * 3
        assert entries[0]["audio"] == "/corpus/wavs/LJ001-0001.wav"
        assert entries[0]["duration"] == 5 * 320 / 16000
        got = {Path(entry["audio"]).stem: entry["hubert"] for entry in entries}
    elif kind == "km":
        root, *rows = (output / "manifest.tsv").read_text().splitlines()
        assert root == "/corpus"
        assert rows[0] == "wavs/LJ001-0001.wav\t1600"
        names = [Path(row.split("\t")[0]).stem for row in rows]
        got = dict(zip(names, (output / "units.km").read_text().splitlines(), strict=True))
    else:
        got = {path.stem: spaced(np.load(path).tolist()) for path in output.glob("*.npy")}
    assert got == {name: spaced(units) for name, units in expected.items()}
    again = tmp_path / "again"
    import_units(open_units(output, kind), again, corpus / "audio")
    assert {row["id"]: row["units"].tolist() for row in read_rows(again)} == expected


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("codes", "a|1 x 3\n", "line 1: 'x' is no unit"),
        ("codes", "a|1\n\nb 1 2\n", "line 3: is not 'name|units'"),
        ("codes", "a|1\nx/a.wav|2\n", "'a' occurs twice"),
        ("codes", "a|\n", "line 1: has no units"),
        ("codes", "a|70000\n", "must be 0 to 65535, found 70000"),
        ("codes", "a|99999999999999999999999\n", "is no unit"),
        ("codes", "\n", "no utterances"),
        ("dict", "{'audio': 'a.wav', 'cpc_km100': '-1', 'duration': 3.0}", "must be 0 to 65535, found -1"),
        ("dict", "{'audio': 'a.wav', 'duration': 3.0}", "line 1: has no units"),
        ("dict", "{'audio': __import__('os').remove('x')}", "line 1: is no dictionary"),
        ("dict", "[" * 5000, "line 1: is no dictionary"),
        ("dict", "{'hubert': '1'}", "line 1: is no dictionary with the key 'audio'"),
        ("midi", "a|1", "format 'midi' is unknown"),
    ],
)
def test_bad_lines_name_themselves(tmp_path: Path, kind: str, text: str, message: str) -> None:
    source = tmp_path / "units.txt"
    source.write_text(text)
    with pytest.raises(UserError, match=message.replace("|", r"\|")) as error:
        import_units(open_units(source, kind), tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "out").glob("*.parquet"))


def test_a_list_and_its_units_must_be_of_one_length(tmp_path: Path) -> None:
    source = write(tmp_path, "km")
    source.write_text("1 2\n")
    with pytest.raises(UserError, match="1 lines of units for 3 recordings"):
        open_units(source, "km")
    (tmp_path / "train.tsv").unlink()
    with pytest.raises(UserError, match=r"one \.tsv and one \.km"):
        open_units(source, "km")


def test_arrays_of_something_else_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "soft.npy", np.zeros((3, 256), np.float32))
    with pytest.raises(UserError, match="soft units are none"):
        open_units(tmp_path, "npy").read(0)
    np.save(tmp_path / "soft.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="not a NumPy array"):
        open_units(tmp_path, "npy").read(0)


@given(st.lists(st.integers(0, 65535), min_size=1, max_size=50), st.sampled_from([" ", ",", ", "]))
def test_units_survive_their_text(units: list[int], separator: str) -> None:
    parsed = parse_units(separator.join(map(str, units)), "here")
    assert parsed.dtype == np.uint16
    assert parsed.tolist() == units


def test_units_alone_can_be_exported(tmp_path: Path) -> None:
    write_shard(tmp_path / "units/part-00000.parquet", [{"id": "a", "units": np.array([1, 2])}], UNITS)
    assert export_units(tmp_path / "units", tmp_path / "a.txt", "codes") == 1
    assert (tmp_path / "a.txt").read_text() == "a|1 2\n"
    with pytest.raises(UserError, match="manifest"):
        export_units(tmp_path / "units", tmp_path / "b.txt", "dict")
