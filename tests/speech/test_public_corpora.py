"""Adapters of public corpora on small trees of their real layout, and on the real recordings there are."""

from __future__ import annotations

import gc
import io
import shutil
import weakref
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from speech.audio import containers
from speech.audio.decode import IsolatedDecoder
from speech.audio.waveforms import read_header, read_wave
from speech.corpora import Listing, prepare
from speech.corpora.hf_parquet import split_of
from speech.corpora.speech_commands import official_split
from speech.corpora.splits import counted_splits
from speech.corpora.validate import validate
from speech.errors import AudioError, UserError
from speech.storage.manifest import manifest_rows


def read(adapter: str, root: Path, **options: Any) -> Listing:
    return prepare(adapter, root, root, 1234, options)


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def test_the_counts_of_the_paper_come_out() -> None:
    for total, valid, test in ((13100, 1310, 655), (43477, 2174, 2173)):
        shares = (0.1, 0.05) if total == 13100 else (0.05, 0.05)
        splits = counted_splits([f"u{number}" for number in range(total)], 1, *shares)
        assert Counter(splits.values()) == {"train": total - valid - test, "valid": valid, "test": test}
        assert splits == counted_splits([f"u{number}" for number in reversed(range(total))], 1, *shares)


def test_ljspeech_reads_real_clips_and_their_normalised_text(shared: Path, tmp_path: Path) -> None:
    root = shared / "data/LJSpeech-1.1"
    listing = read("ljspeech", root)
    assert Counter(e.split for e in listing.entries) == {"train": 28, "valid": 3, "test": 1}
    first = next(e for e in listing.entries if e.id == "LJ001-0001")
    assert first.text is not None
    assert first.text.startswith("Printing, in the only sense with which we are at present concerned, differs")
    assert first.speaker == "lj"
    rows, rejects = manifest_rows(listing)
    assert ({row["sample_rate"] for row in rows}, rejects) == ({22050}, [])
    (tmp_path / "test.txt").write_text("{'audio': 'any/where/LJ001-0002.wav', 'hubert': '1 2', 'duration': 1.9}")
    (tmp_path / "val.txt").write_text("LJ001-0003|text\nwavs/LJ001-0004.wav\n")
    listed = {e.id: e.split for e in read("ljspeech", root, lists=str(tmp_path)).entries}
    assert (listed["LJ001-0002"], listed["LJ001-0003"], listed["LJ001-0004"]) == ("test", "valid", "valid")
    assert Counter(listed.values()) == {"train": 29, "valid": 2, "test": 1}
    (tmp_path / "train.txt").write_text("LJ001-0001\tx\n")
    only = read("ljspeech", root, lists=str(tmp_path))
    assert {e.id for e in only.entries} == {"LJ001-0001", "LJ001-0002", "LJ001-0003", "LJ001-0004"}
    assert len(only.rejects) == 28
    assert only.rejects[0][1] == "is in no list"


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({}, "no lists of a split found"),
        ({"test.txt": "other-0001\n"}, "name no utterance of the corpus"),
        ({"test.txt": "{'audio': __import__('os').getcwd()}"}, "line 1 is no dictionary"),
    ],
)
def test_bad_lists_say_so_and_run_nothing(tmp_path: Path, lists: dict[str, str], message: str) -> None:
    (tmp_path / "metadata.csv").write_text("LJ001-0001|a|a\n")
    touch(tmp_path, "wavs/LJ001-0001.wav")
    (tmp_path / "lists").mkdir()
    for name, text in lists.items():
        (tmp_path / "lists" / name).write_text(text)
    with pytest.raises(UserError, match=message):
        read("ljspeech", tmp_path, lists=str(tmp_path / "lists"))


def test_vctk_of_both_versions_has_the_same_ids(tmp_path: Path) -> None:
    new, old = tmp_path / "VCTK-Corpus-0.92", tmp_path / "VCTK-Corpus"
    for number in range(1, 11):
        name = f"p225_{number:03d}"
        for microphone in ("mic1", "mic2"):
            touch(new, f"wav48_silence_trimmed/p225/{name}_{microphone}.flac")
        touch(old, f"wav48/p225/{name}.wav")
        for root in (new, old):
            (root / "txt/p225").mkdir(parents=True, exist_ok=True)
            (root / f"txt/p225/{name}.txt").write_text(f"Sentence {number}.\n")
    touch(new, "wav48_silence_trimmed/p280/p280_001_mic1.flac", "wav48_silence_trimmed/p315/p315_001_mic2.flac")
    second = read("vctk", new)
    assert {e.id for e in second.entries} - {"p315_001"} == {e.id for e in read("vctk", old).entries}
    assert all(e.path.endswith("_mic2.flac") for e in second.entries)
    assert {e.path: e.text for e in second.entries}["wav48_silence_trimmed/p225/p225_003_mic2.flac"] == "Sentence 3."
    assert next(e for e in second.entries if e.speaker == "p315").text is None
    assert second.rejects == [("wav48_silence_trimmed/p280/p280_001_mic1.flac", "has no mic2")]
    first = read("vctk", new, microphone="mic1", exclude=["p280"])
    assert all(e.path.endswith("_mic1.flac") for e in first.entries)
    assert {e.speaker for e in read("vctk", new, speakers=["p225"]).entries} == {"p225"}
    with pytest.raises(UserError, match="p999"):
        read("vctk", new, speakers=["p999"])
    with pytest.raises(UserError, match="microphone"):
        read("vctk", new, microphone="mic3")


def test_libritts_takes_the_normalised_text(tmp_path: Path) -> None:
    for subset, speaker in (("train-clean-100", "103"), ("dev-clean", "84"), ("test-clean", "121")):
        name = f"{subset}/{speaker}/1241/{speaker}_1241_000000_000001"
        touch(tmp_path, f"{name}.wav")
        (tmp_path / f"{name}.normalized.txt").write_text(f"Said by {speaker}.")
        (tmp_path / f"{name}.original.txt").write_text("Other.")
    entries = {e.split: e for e in read("libritts", tmp_path).entries}
    assert {split: e.speaker for split, e in entries.items()} == {"train": "103", "valid": "84", "test": "121"}
    assert entries["test"].text == "Said by 121."
    assert {e.split for e in read("libritts", tmp_path, subsets=["train-clean-100"]).entries} == {"train"}


# Speakers as the corpus's own lists have them.
IN_TESTING_LIST = ("bb05582b", "97f4c236", "f2e59fea", "fdb5155e", "dc75148d", "3f170018", "18f8afd5", "e1469561")
IN_VALIDATION_LIST = ("a69b9b3e", "439c84f4", "409c962a", "dbaf8fc6", "a6d586b7", "0e17f595", "ff2b842e", "7fd25f7c")


def test_the_rule_of_speech_commands_agrees_with_its_lists() -> None:
    assert {official_split(f"{speaker}_nohash_3.wav") for speaker in IN_TESTING_LIST} == {"test"}
    assert {official_split(f"{speaker}_nohash_0.wav") for speaker in IN_VALIDATION_LIST} == {"valid"}


def test_speech_commands_of_real_words(shared: Path) -> None:
    root = shared / "data/speech_commands_v0.01"
    listing = read("speech_commands", root)
    assert (len(listing.entries), len({e.speaker for e in listing.entries})) == (249, 34)
    assert len({e.text for e in listing.entries}) == 30
    for entry in listing.entries:
        if entry.speaker in IN_TESTING_LIST + IN_VALIDATION_LIST:
            assert entry.split == ("test" if entry.speaker in IN_TESTING_LIST else "valid")
    assert any(e.speaker == "439c84f4" and e.split == "valid" for e in listing.entries)
    digits = read("speech_commands", root, words="sc09")
    assert len({e.text for e in digits.entries}) == 10
    with pytest.raises(UserError, match="words"):
        read("speech_commands", root, words="few")


def test_speech_commands_prefers_its_lists(tmp_path: Path) -> None:
    names = [f"one/{speaker}_nohash_0.wav" for speaker in ("a69b9b3e", "bb05582b", "00000000")]
    touch(tmp_path, *names, "_background_noise_/noise.wav", "one/noise.wav")
    (tmp_path / "validation_list.txt").write_text(f"{names[2]}\n")
    assert {e.speaker: e.split for e in read("speech_commands", tmp_path).entries}["a69b9b3e"] == "valid"
    (tmp_path / "testing_list.txt").write_text(f"{names[0]}\n")
    listing = read("speech_commands", tmp_path)
    splits = {e.speaker: e.split for e in listing.entries}
    assert splits == {"a69b9b3e": "test", "bb05582b": "train", "00000000": "valid"}
    assert [path for path, _ in listing.rejects] == ["one/noise.wav"]


def test_databaker_takes_prosodic_marks_out(tmp_path: Path) -> None:
    touch(tmp_path, "Wave/000001.wav", "Wave/000002.wav")
    (tmp_path / "ProsodyLabeling").mkdir()
    (tmp_path / "ProsodyLabeling/000001-010000.txt").write_text(
        "\ufeff000001\t\u5361\u5c14\u666e#2\u966a\u5916\u5b59#1\u73a9\u6ed1\u68af#4\u3002\n\tka2 er2 pu3\n"
        "000002\t\u4f60\u597d#4\u3002\n\tni2 hao3\n000003\t\u65e0#4\n\twu2\n",
        encoding="utf-8",
    )
    listing = read("databaker", tmp_path)
    assert [e.text for e in listing.entries] == [
        "\u5361\u5c14\u666e\u966a\u5916\u5b59\u73a9\u6ed1\u68af\u3002",
        "\u4f60\u597d\u3002",
    ]
    assert {e.language for e in listing.entries} == {"zh"}
    assert [path for path, _ in listing.rejects] == ["Wave/000003.wav"]
    with pytest.raises(UserError, match=r"fetches nothing; .*data-baker\.com"):
        from speech.corpora import download

        download("databaker", tmp_path, {})


def parquet(path: Path, waves: list[np.ndarray], **columns: list[Any]) -> Path:
    """A file as Hugging Face writes it: a struct of encoded bytes and a name, row groups of a few rows."""
    clips = []
    for number, wave in enumerate(waves):
        buffer = io.BytesIO()
        soundfile.write(buffer, wave, 16000, format="WAV", subtype="PCM_16")
        clips.append({"bytes": buffer.getvalue(), "path": f"{number}.wav"})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"audio": clips, **columns}), path, row_group_size=7)
    return path


def noise(count: int, channels: int = 1) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [np.round(rng.uniform(-0.5, 0.5, (400 + n, channels)) * 32768) / 32768 for n in range(count)]


def test_parquet_rows_are_recordings_in_any_order(tmp_path: Path) -> None:
    waves = noise(40)
    parquet(tmp_path / "data/train-00000-of-00001.parquet", waves, speaker_id=[n % 3 for n in range(40)])
    listing = read("hf_parquet", tmp_path)
    assert len(listing.entries) == 40
    assert {e.speaker for e in listing.entries} == {"0", "1", "2"}
    assert {e.split for e in listing.entries} == {"train", "valid", "test"}
    order = np.random.default_rng(1).permutation(40)
    for number in [*range(40), *order]:
        wave, rate = read_wave(tmp_path / listing.entries[number].path)
        assert rate == 16000
        assert np.array_equal(wave, waves[number][:, 0].astype(np.float32))
    rows, rejects = manifest_rows(listing)
    assert [row["num_samples"] for row in rows] == [len(wave) for wave in waves]
    assert rejects == []
    assert validate("hf_parquet", tmp_path, 1, {})[1] == []


def test_hylee_takes_the_first_channel_and_libritts_its_columns(tmp_path: Path) -> None:
    waves = noise(3, channels=2)
    parquet(tmp_path / "h/train-0.parquet", waves)
    lectures = read("hf_parquet", tmp_path / "h", preset="hylee")
    assert {(e.speaker, e.language, e.text) for e in lectures.entries} == {("hylee", "zh", None)}
    first = lectures.entries[0]
    assert np.array_equal(read_wave(tmp_path / "h" / first.path)[0], waves[0][:, 0].astype(np.float32))
    mixed = read("hf_parquet", tmp_path / "h").entries[0]
    assert np.allclose(read_wave(tmp_path / "h" / mixed.path)[0], waves[0].mean(axis=1), atol=1e-7)
    with pytest.raises(AudioError, match="none numbered 2"):
        read_wave(str(tmp_path / "h" / first.path).replace(":0000000:0", ":0000000:2"))
    columns = {"speaker_id": ["84"], "text_original": ["No. 1"], "text_normalized": ["Number one"]}
    for folder in ("train.clean.100", "dev.clean", "test.clean"):
        parquet(tmp_path / f"l/{folder}/0000.parquet", noise(1), **columns)
    books = read("hf_parquet", tmp_path / "l", preset="libritts", subsets=["train.clean.100", "dev.clean"])
    assert [(e.split, e.speaker, e.text) for e in books.entries] == [
        ("valid", "84", "Number one"),
        ("train", "84", "Number one"),
    ]
    with pytest.raises(UserError, match="text_normalized"):
        read("hf_parquet", tmp_path / "h", preset="libritts")


def test_one_damaged_row_costs_one_recording(tmp_path: Path) -> None:
    path = parquet(tmp_path / "train.parquet", noise(5))
    table = pq.read_table(path).to_pylist()
    table[1]["audio"]["bytes"] = table[1]["audio"]["bytes"][:300]
    table[2]["audio"]["bytes"] = None
    pq.write_table(pa.Table.from_pylist(table), path)
    rows, rejects = manifest_rows(read("hf_parquet", tmp_path))
    assert (len(rows), len(rejects)) == (3, 2)
    assert "cut short" in rejects[0]["reason"]
    assert "row 2 holds no recording" in rejects[1]["reason"]
    with pytest.raises(AudioError, match="has no row 9"):
        read_header(f"{path}#audio:9:mix")
    with pytest.raises(AudioError, match="no column 'video'"):
        read_header(f"{path}#video:0:mix")
    with IsolatedDecoder() as decoder:
        assert decoder.header(f"{path}#audio:0:mix").num_samples == 400


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("data/train-00000-of-00012.parquet", "train"),
        ("clean/validation/0.parquet", "valid"),
        ("all/dev.clean/x-1.parquet", "valid"),
        ("test.other/train.clean.parquet", "train"),
        ("latest/contest.parquet", "train"),
    ],
)
def test_the_path_tells_the_split(path: str, split: str) -> None:
    assert split_of(path) == split


def test_validate_tells_what_is_wrong(tmp_path: Path, shared: Path) -> None:
    for name in ("LJ001-0001", "LJ001-0002", "LJ001-0003"):
        touch(tmp_path, f"wavs/{name}.wav")
    (tmp_path / "wavs/LJ001-0003.wav").write_bytes(b"")
    (tmp_path / "metadata.csv").write_text("LJ001-0001|a|b\nLJ001-0009|a|b\n")
    problems = "\n".join(validate("ljspeech", tmp_path, 1, {})[1])
    assert "wavs/LJ001-0003.wav: empty" in problems
    assert "wavs/LJ001-0009.wav: is in metadata.csv but not there" in problems
    assert "no recording is for 'test'" in problems
    assert "3 recordings, the complete one has 13100" in problems
    shutil.copytree(shared / "data/LibriSpeech/test-other/", tmp_path / "libri/test-other")
    _, found = validate("librispeech", tmp_path / "libri", 1, {})
    assert "test-other/: 100 recordings, the complete one has 2939" in found


def test_a_row_group_is_let_go_when_the_next_one_is_read(tmp_path: Path) -> None:
    path = parquet(tmp_path / "train.parquet", noise(20))
    gc.disable()
    try:
        read_header(f"{path}#audio:0:mix")
        first = weakref.ref(containers._cursor)
        read_header(f"{path}#audio:6:mix")
        assert first() is containers._cursor
        read_header(f"{path}#audio:7:mix")
        assert first() is None
    finally:
        gc.enable()
