from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from respeak import System
from respeak.cli.render_commands import pair_files
from speech.errors import UserError
from tests.respeak.tiny import MODEL, SPEAKERS, UNITS, Respeak, make_bundle


@pytest.fixture()
def recordings(tmp_path: Path, shared: Path) -> Path:
    """Two real digits in a folder with a sub-folder, at 8 kHz."""
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    source = shared / "data/free-spoken-digit-dataset/recordings"
    shutil.copy(source / "3_theo_0.wav", folder / "three.wav")
    wave, rate = soundfile.read(source / "7_jackson_0.wav")
    soundfile.write(folder / "sub/seven.flac", wave, rate)
    return folder


def test_one_file(respeak: Respeak, bundle_dir: Path, recordings: Path, tmp_path: Path) -> None:
    output = tmp_path / "made/three.wav"
    options = ("--system", bundle_dir, "--device", "cpu")
    status, out, _ = respeak("resynthesize", recordings / "three.wav", output, "--speaker", "theo", *options)
    assert status == 0
    info = soundfile.info(output)
    assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
    assert f"1 of 1 recordings written to {output}: {info.duration:.1f} s of audio in" in out
    assert re.search(r"real-time factor \d+\.\d{3}", out)
    made = soundfile.read(output)[0]
    assert respeak("convert", recordings / "three.wav", tmp_path, "--target", "nicolas", *options)[0] == 0
    converted = soundfile.read(tmp_path / "three.wav")[0]
    assert len(converted) == len(made)
    assert np.abs(converted - made).max() > 0.05


def test_a_bad_recording_of_a_folder_is_skipped(
    respeak: Respeak, bundle_dir: Path, recordings: Path, tmp_path: Path
) -> None:
    (recordings / "broken.wav").write_bytes(b"RIFF")
    soundfile.write(recordings / "sub/silent.wav", np.zeros(8000), 8000)
    soundfile.write(recordings / "eight.wav", np.random.default_rng(0).normal(scale=0.1, size=(9600, 8)), 96000)
    status, out, err = respeak("convert", recordings, tmp_path / "out", "--target", "theo", "--system", bundle_dir)
    assert status == 1
    made = sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.*"))
    assert made == ["eight.wav", "sub/seven.wav", "three.wav"]
    assert "3 of 5 recordings written" in out
    skipped = [line for line in err.splitlines() if line.startswith("skipped: ")]
    assert len(skipped) == 2
    assert "broken.wav" in skipped[0]
    assert "sub/silent.wav: is silent" in skipped[1]


def test_a_bad_recording_alone_is_an_error(respeak: Respeak, bundle_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "one.wav").write_bytes(b"")
    arguments = ("convert", tmp_path / "one.wav", tmp_path / "out.wav", "--target", "theo", "--system", bundle_dir)
    status, _, err = respeak(*arguments)
    assert status == 2
    assert err == f"error: {tmp_path / 'one.wav'}: file is empty (0 bytes)\n"
    assert not (tmp_path / "out.wav").exists()


def test_unknown_target_stops_before_any_work(
    respeak: Respeak, bundle_dir: Path, recordings: Path, tmp_path: Path
) -> None:
    status, _, err = respeak("convert", recordings, tmp_path / "out", "--target", "anna", "--system", bundle_dir)
    assert status == 2
    assert err == f"error: speaker 'anna' is not in {bundle_dir}; it has jackson, nicolas, theo\n"
    assert not (tmp_path / "out").exists()


def test_info(respeak: Respeak, bundle_dir: Path) -> None:
    status, out, _ = respeak("info", bundle_dir)
    assert status == 0
    for fact in ("12 at 50 per second", "theo (125 ± 20 Hz)", "dio, 60 to 400 Hz", "mfcc", "made_by: a test"):
        assert fact in out
    assert respeak("info", bundle_dir / "none")[0] == 2


def heard(path: Path) -> np.ndarray:
    return soundfile.read(path)[0]


def test_pitch_melody_and_foreign_units_are_heard(
    respeak: Respeak, bundle_dir: Path, recordings: Path, tmp_path: Path, system: System
) -> None:
    options = ("--system", bundle_dir, "--target", "theo", "--device", "cpu")
    units = tmp_path / "units.txt"
    lines = []
    for path in (recordings / "three.wav", recordings / "sub/seven.flac"):
        encoded = system.encode(*soundfile.read(path, dtype="float32"))
        # Of the padded recording, or of its speech alone.
        count = len(encoded.units) if path.stem == "three" else -(-encoded.num_speech // 320)
        lines.append(f"{path.stem}|{' '.join(map(str, encoded.units[:count]))}\n")
    units.write_text("".join(lines))
    changes = {
        "plain": (),
        "units": ("--units-from", units),
        "higher": ("--pitch", "+7"),
        "flat": ("--pitch-range", "0"),
        "melody": ("--melody-from", tmp_path / "glide.wav"),
    }
    phase = 2 * np.pi * np.cumsum(np.geomspace(80, 300, 16000)) / 16000
    soundfile.write(tmp_path / "glide.wav", 0.2 * sum(np.sin(k * phase) / k for k in range(1, 9)), 16000)
    for name, change in changes.items():
        assert respeak("convert", recordings, tmp_path / name, *options, *change)[0] == 0
    plain = heard(tmp_path / "plain/three.wav")
    np.testing.assert_array_equal(heard(tmp_path / "units/three.wav"), plain)
    for name in ("higher", "flat", "melody"):
        other = heard(tmp_path / f"{name}/three.wav")
        assert len(other) == len(plain) and np.abs(other - plain).max() > 0.02, name
    units.write_text(lines[0])
    status, out, err = respeak("convert", recordings, tmp_path / "few", *options, "--units-from", units)
    assert status == 1 and "1 of 2 recordings" in out and "sub/seven.flac: " in err and "no units of it" in err


def test_the_voice_of_a_recording(respeak: Respeak, recordings: Path, tmp_path: Path, bundle_dir: Path) -> None:
    vectors = {name: np.eye(256, dtype=np.float32)[row] for row, name in enumerate(SPEAKERS)}
    by_vector = make_bundle(tmp_path / "by_vector", model={**MODEL, "speaker_dim": 256}, vectors=vectors)
    command = ("convert", recordings / "three.wav", tmp_path / "out.wav", "--target", recordings / "sub/seven.flac")
    assert respeak(*command, "--system", by_vector)[0] == 0
    assert len(heard(tmp_path / "out.wav")) > 3000
    assert "any recording's, by d-vector" in respeak("info", by_vector)[1]
    status, _, err = respeak(*command, "--system", bundle_dir)
    assert status == 2 and "has a table of its own speakers (jackson, nicolas, theo): name one" in err
    soundfile.write(tmp_path / "silent.wav", np.zeros(8000), 8000)
    status, _, err = respeak(*command[:-1], tmp_path / "silent.wav", "--system", by_vector)
    assert status == 2 and err.startswith(f"error: {tmp_path / 'silent.wav'}: is silent")


def test_a_change_of_melody_that_is_none_is_refused(
    respeak: Respeak, bundle_dir: Path, recordings: Path, tmp_path: Path
) -> None:
    options = ("--system", bundle_dir, "--target", "theo")
    convert = ("convert", recordings / "three.wav", tmp_path / "out.wav", *options)
    for option, value in (("--pitch", "nan"), ("--pitch", "inf"), ("--pitch-range", "inf"), ("--pitch-range", "nan")):
        status, _, err = respeak(*convert, option, value)
        assert status == 2 and err == f"error: {option}: {value} is no number to change a melody by\n"
    soundfile.write(tmp_path / "hiss.wav", np.random.default_rng(0).normal(scale=0.1, size=16000), 16000)
    status, _, err = respeak(*convert, "--melody-from", tmp_path / "hiss.wav")
    assert status == 2 and err.startswith(f"error: {tmp_path / 'hiss.wav'}: has no voiced speech")
    (tmp_path / "units.txt").write_text("a|1 2 3\n")
    units = ("--units", tmp_path / "units.txt")
    status, _, err = respeak("generate", tmp_path / "made", *units, *options, "--pitch-range", "2")
    assert status == 2 and "--melody-from" in err
    assert not (tmp_path / "out.wav").exists() and not (tmp_path / "made").exists()


def test_units_alone_are_spoken_by_several(respeak: Respeak, tmp_path: Path) -> None:
    voicing = np.linspace(0, 1, UNITS).astype(np.float32)
    knows = make_bundle(tmp_path / "knows", voicing=voicing)
    units = tmp_path / "units.tsv.txt"
    units.write_text("a|" + "5 5 9 10 11 11 11 2 " * 8 + "\nb|" + "1 2 3 10 10 10 10 9 9 9\n")
    options = ("--units", units, "--device", "cpu")
    status, out, _ = respeak(
        "generate", tmp_path / "out", *options, "--target", "theo", "--target", "nicolas", "--system", knows
    )
    assert status == 0
    assert "2 utterances in 2 voice(s) written" in out and "real-time factor" in out
    made = {path.relative_to(tmp_path / "out").as_posix(): heard(path) for path in (tmp_path / "out").rglob("*.wav")}
    assert {name: len(wave) for name, wave in made.items()} == {
        f"{voice}/{name}.wav": count * 320 for voice in ("theo", "nicolas") for name, count in (("a", 64), ("b", 10))
    }
    assert np.abs(made["theo/a.wav"] - made["nicolas/a.wav"]).max() > 0.05
    single = ("generate", tmp_path / "one", *options, "--target", "theo", "--system")
    assert respeak(*single, knows)[0] == 0
    np.testing.assert_array_equal(heard(tmp_path / "one/a.wav"), made["theo/a.wav"])
    status, _, err = respeak(*single, make_bundle(tmp_path / "silent"))
    assert status == 2 and "does not state which units are voiced" in err
    units.write_text("a|1 2 12\n")
    assert "each from 0 to 11" in respeak(*single, knows)[2]


def test_units_that_were_written_are_spoken(respeak: Respeak, recordings: Path, tmp_path: Path) -> None:
    knows = make_bundle(tmp_path / "knows", voicing=np.linspace(0, 1, UNITS).astype(np.float32))
    said: dict[str, np.ndarray] = {}
    for form in ("tsv", "json", "npy"):
        written = tmp_path / form / f"three.{form}"
        assert respeak("units", recordings / "three.wav", "--system", knows, "--out", written)[0] == 0
        for units in (written, tmp_path / form):
            command = ("generate", tmp_path / "out", "--units", units, "--target", "theo", "--system", knows)
            assert respeak(*command, "--device", "cpu")[0] == 0
            said[f"{form} {units.is_dir()}"] = heard(tmp_path / "out/three.wav")
    for name, wave in said.items():
        np.testing.assert_array_equal(wave, said["npy False"], name)
    (tmp_path / "json/three.json").write_text("{}")
    status, _, err = respeak(*command[:3], tmp_path / "json", *command[4:])
    assert status == 2 and "three.json: not what respeak units writes" in err


@pytest.mark.parametrize("command", ["resynthesize", "convert", "info"])
def test_help_states_what_goes_in_and_out(respeak: Respeak, command: str) -> None:
    status, out, _ = respeak(command, "--help")
    assert status == 0
    for word in ("Usage:", "folder"):
        assert word in out
    if command != "info":
        assert "16 kHz mono" in " ".join(out.split())
        assert "systems/resynthesis" in out


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_pairs_of_a_folder_keep_its_layout(tmp_path: Path) -> None:
    touch(tmp_path / "in/b/c.FLAC")
    touch(tmp_path / "in/a.wav")
    touch(tmp_path / "in/notes.txt")
    out = tmp_path / "in/out"
    touch(out / "a.wav")
    expected = [(tmp_path / "in/a.wav", out / "a.wav"), (tmp_path / "in/b/c.FLAC", out / "b/c.wav")]
    assert pair_files(tmp_path / "in", out) == expected


@pytest.mark.parametrize(
    ("source", "output", "message"),
    [
        ("none.wav", "out.wav", "no such file or folder"),
        ("in/a.wav", "in/a.wav", "same file"),
        ("in/a.wav", "in", "same file"),
        ("in/a.wav", "out.mp3", "ends in .wav"),
        ("in", "in", "same folder"),
        ("in", "in/a.wav", "is a file, but"),
        ("empty", "out", "no recordings"),
        ("twins", "out", "both be written"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path: Path, source: str, output: str, message: str) -> None:
    touch(tmp_path / "in/a.wav")
    touch(tmp_path / "twins/a.wav")
    touch(tmp_path / "twins/a.mp3")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=message):
        pair_files(tmp_path / source, tmp_path / output)
