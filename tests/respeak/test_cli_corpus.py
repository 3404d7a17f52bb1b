"""The commands on corpora and units, run as a person would."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import soundfile

from tests.respeak.tiny import Respeak


def speak(folder: Path, count: int) -> Path:
    for number in range(count):
        (folder / "ann").mkdir(parents=True, exist_ok=True)
        wave = np.random.default_rng(number).normal(0, 0.1, 8000)
        soundfile.write(folder / f"ann/{number}.wav", wave, 16000)
    return folder


def test_check_is_silent_status_on_a_good_folder_and_1_on_a_blocked_one(respeak: Respeak, tmp_path: Path) -> None:
    status, out, _ = respeak("check", speak(tmp_path, 10))
    assert status == 0
    assert "10 usable, 0 not" in out
    assert "train: 8, valid: 1, test: 1" in out
    assert "look: 10 recordings have no text" in out
    (tmp_path / "ann/broken.wav").write_bytes(b"")
    status, out, _ = respeak("check", tmp_path)
    assert status == 1
    assert "BLOCKS: 1 of 11 recordings cannot be used" in out
    status, _, err = respeak("check", tmp_path / "nothing")
    assert status == 2
    assert "no such folder" in err


def test_corpora_are_listed_and_validated(respeak: Respeak, tmp_path: Path, shared: Path) -> None:
    status, out, _ = respeak("corpus", "list")
    assert status == 0
    assert "vctk: VCTK: newspaper sentences" in out
    assert "microphone=mic2" in out
    root = shared / "data/LJSpeech-1.1"
    status, out, _ = respeak("corpus", "validate", "ljspeech", root, "--option", "valid_share=0.2")
    assert status == 1
    assert "32 recordings, the complete one has 13100" in out
    status, out, _ = respeak("corpus", "validate", "folder", speak(tmp_path, 10))
    assert (status, out) == (0, f"{tmp_path}: 10 recordings of 1 speakers, 0 problems\n")
    for option, words in (("shares=1", "expected name=value with one of"), ("valid_share=x", "expected a number")):
        status, _, err = respeak("corpus", "validate", "folder", tmp_path, "--option", option)
        assert status == 2
        assert words in err
    status, _, err = respeak("corpus", "download", "databaker", tmp_path)
    assert status == 2
    assert "data-baker.com" in err


def test_units_of_a_recording_in_every_format(respeak: Respeak, tmp_path: Path, bundle_dir: Path) -> None:
    recording = speak(tmp_path, 1) / "ann/0.wav"
    common = ("units", recording, "--system", bundle_dir, "--device", "cpu")
    status, out, _ = respeak(*common)
    assert status == 0
    head, *rows = [line.split("\t") for line in out.splitlines()]
    assert head == ["start", "end", "unit"]
    assert [row[0] for row in rows[:3]] == ["0.0000", "0.0200", "0.0400"]
    assert respeak(*common, "--out", tmp_path / "u.json")[0] == 0
    written = json.loads((tmp_path / "u.json").read_text())
    assert written["units"] == [int(row[2]) for row in rows]
    assert written["start"] == [float(row[0]) for row in rows]
    assert respeak(*common, "--out", tmp_path / "u.npy")[0] == 0
    assert np.load(tmp_path / "u.npy").tolist() == written["units"]
    for arguments, words in (
        (("--format", "npy"), "needs a file"),
        (("--out", tmp_path / "u.txt"), "ends in .tsv, .json or .npy"),
    ):
        status, _, err = respeak(*common, *arguments)
        assert status == 2
        assert words in err


def test_units_come_and_go(respeak: Respeak, tmp_path: Path) -> None:
    (tmp_path / "units.txt").write_text("a|1 2 3\nb|4\n")
    status, out, _ = respeak("import-units", tmp_path / "units.txt", tmp_path / "units")
    assert status == 0
    assert "2 utterances read as codes, units up to 4" in out
    assert respeak("export-units", tmp_path / "units", tmp_path / "npy", "--format", "npy")[0] == 0
    assert np.load(tmp_path / "npy/a.npy").tolist() == [1, 2, 3]
    status, _, err = respeak("import-units", tmp_path / "nothing", tmp_path / "x")
    assert status == 2
    assert "no such file or folder" in err
