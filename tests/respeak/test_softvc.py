"""Soft-VC's tools: each step alone makes what the steps together make, in the shapes of the public tools."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from respeak.cli import app
from respeak.encoders.unit_encoder import UnitEncoder
from respeak.systems.registry import find_system, load_system
from respeak.systems.resynthesis.bundle import ResynthesisBundle
from respeak.systems.softvc.bundle import SoftVCBundle
from respeak.systems.softvc.system import SoftVC
from speech.errors import UserError
from tests.respeak.tiny import Respeak
from tests.respeak.tiny_softvc import SOFT_DIM, UNITS, make_softvc


@pytest.fixture(scope="module")
def systems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("systems")
    make_softvc(folder / "softvc-soft")
    make_softvc(folder / "softvc-discrete", "units")
    make_softvc(folder / "two", speakers=("anna", "bert"))
    return folder


@pytest.fixture()
def recordings(tmp_path: Path) -> Path:
    """Two recordings of a buzz in a folder with a sub-folder, at 8 and at 22 kHz."""
    folder = tmp_path / "in"
    for name, rate, seconds in (("one.wav", 8000, 0.5), ("sub/two.flac", 22050, 0.9)):
        time = np.arange(int(rate * seconds)) / rate
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        wave = np.sin(2 * np.pi * 150 * time * (1 + time)) + 0.5 * np.sin(2 * np.pi * 900 * time)
        soundfile.write(folder / name, 0.4 * wave, rate)
    return folder


def read(path: Path) -> tuple[np.ndarray, int]:
    wave, rate = soundfile.read(path, dtype="float32")
    return wave, rate


@pytest.mark.parametrize("kind", ["soft", "discrete"])
def test_steps_give_what_converting_gives(
    respeak: Respeak, systems: Path, recordings: Path, tmp_path: Path, kind: str
) -> None:
    options = ("--system", systems / f"softvc-{kind}", "--device", "cpu")
    assert respeak("units", recordings, "--out", tmp_path / "units", *options)[0] == 0
    assert respeak("mel", tmp_path / "units", tmp_path / "mels", *options)[0] == 0
    assert respeak("vocode", tmp_path / "mels", tmp_path / "waves", *options)[0] == 0
    system = SoftVC.load(systems / f"softvc-{kind}", "cpu")
    for name in ("one", "sub/two"):
        source = next(recordings.glob(f"{name}.*"))
        units, mel = (np.load(tmp_path / folder / f"{name}.npy") for folder in ("units", "mels"))
        expected = (np.float32, 2, SOFT_DIM) if kind == "soft" else (np.int64, 1, None)
        assert (units.dtype, units.ndim, units.shape[1] if units.ndim == 2 else None) == expected
        assert mel.dtype == np.float32 and mel.shape == (128, 2 * len(units))
        converted = system.convert(*read(source), "anna")
        made, rate = read(tmp_path / "waves" / f"{name}.wav")
        assert rate == 16000 and len(made) == 320 * len(units)
        np.testing.assert_allclose(made[: len(converted)], np.clip(converted, -1, 1), atol=1e-4)


def test_converting_by_name(respeak: Respeak, systems: Path, recordings: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(systems.parent)
    (systems.parent / "systems").symlink_to(systems) if systems.name != "systems" else None
    for name in ("softvc", "softvc-discrete"):
        status, out, _ = respeak("convert", recordings, tmp_path / name, "--system", name, "--device", "cpu")
        assert status == 0 and "2 of 2 recordings written" in out
        wave, rate = read(tmp_path / name / "sub/two.wav")
        assert rate == 16000 and 0.7 < len(wave) / rate <= 0.9 and np.abs(wave).max() > 0
    assert find_system("softvc").resolve() == (systems / "softvc-soft").resolve()


def test_a_recordings_own_mel_lies_under_its_units(
    respeak: Respeak, systems: Path, recordings: Path, tmp_path: Path
) -> None:
    options = ("--system", systems / "softvc-soft", "--device", "cpu")
    assert respeak("mel", recordings / "one.wav", tmp_path / "one.npy", *options)[0] == 0
    assert respeak("units", recordings / "one.wav", "--out", tmp_path / "units.npy", *options)[0] == 0
    mel, units = np.load(tmp_path / "one.npy"), np.load(tmp_path / "units.npy")
    assert mel.shape == (128, 2 * len(units)) and mel.min() >= -11.52


def test_soft_units_as_text_are_the_most_probable_discrete_ones(
    respeak: Respeak, systems: Path, recordings: Path
) -> None:
    system = systems / "softvc-soft"
    status, out, _ = respeak("units", recordings / "one.wav", "--system", system, "--device", "cpu")
    lines = [line.split("\t") for line in out.splitlines()[1:]]
    loaded = UnitEncoder.load(system, device="cpu")
    spoken = loaded.encode(*read(recordings / "one.wav"))
    assert status == 0 and len(lines) == len(spoken.units)
    import torch

    expected = loaded._encoder.probabilities(torch.from_numpy(spoken.units.astype(np.float32))[None])[0].argmax(-1)
    assert [int(line[2]) for line in lines] == expected.tolist()
    assert max(expected.tolist()) < UNITS


def test_an_encoders_folder_gives_soft_units_too(systems: Path, recordings: Path) -> None:
    wave = read(recordings / "one.wav")
    plain = UnitEncoder.load(systems / "softvc-soft.parts" / "encoder", device="cpu").encode(*wave)
    assert plain.units.shape[1] == SOFT_DIM and plain.start == 0.0
    untrimmed = UnitEncoder.load(systems / "softvc-soft", device="cpu").encode(*wave)
    assert abs(len(plain.units) - len(untrimmed.units)) <= 2


def test_several_at_once_sound_as_each_alone(systems: Path) -> None:
    system, rng = SoftVC.load(systems / "two", "cpu"), np.random.default_rng(1)
    contents = [rng.normal(size=(n, SOFT_DIM)).astype(np.float32) for n in (9, 4, 1)]
    voices = ["anna", "bert", "anna"]
    for made, content, voice in zip(system.mels(contents, voices), contents, voices, strict=True):
        np.testing.assert_allclose(made, system.mels([content], [voice])[0], atol=1e-4)


def test_a_long_mel_is_vocoded_in_pieces_without_seams(systems: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mel = np.random.default_rng(2).normal(size=(500, 128)).astype(np.float32) - 5
    whole = SoftVC.load(systems / "softvc-soft", "cpu").vocode(mel)
    monkeypatch.setattr("respeak.systems.softvc.system.VOCODE_SECONDS", 1.3)
    np.testing.assert_allclose(SoftVC.load(systems / "softvc-soft", "cpu").vocode(mel), whole, atol=1e-5)


def test_untrained_is_another_system(systems: Path) -> None:
    content = np.random.default_rng(3).normal(size=(8, SOFT_DIM)).astype(np.float32)
    trained, untrained = (load_system(systems / "softvc-soft", "cpu", seed) for seed in (None, 4))
    assert isinstance(trained, SoftVC) and isinstance(untrained, SoftVC)
    assert np.abs(trained.synthesize(content, "anna") - untrained.synthesize(content, "anna")).max() > 1e-4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("convert", "IN/one.wav", "OUT.wav", "--system", "softvc-soft", "--pitch", "2"),
            "--pitch: softvc takes no pitch (",
        ),
        (
            ("convert", "IN/one.wav", "OUT.wav", "--system", "softvc-soft", "--target", "zoe"),
            "speaker 'zoe' is not in",
        ),
        (("convert", "IN/one.wav", "OUT.wav", "--system", "two"), "say which voice (--target): anna, bert"),
        (
            ("resynthesize", "IN/one.wav", "OUT.wav", "--system", "two"),
            "no --speaker: softvc takes no recording's own voice (",
        ),
        (("vocode", "IN/one.npy", "OUT.wav", "--system", "two"), "expected a log-mel (128, M), found (3, 4)"),
        (("mel", "IN/one.npy", "OUT.npy", "--system", "softvc-soft"), "one.npy: expected frames (N, 6), found (3, 4)"),
        (("mel", "IN/one.npy", "OUT.npy", "--system", "softvc-discrete"), "one.npy: expected units (N,) from 0 to 11"),
        (("mel", "IN/one.npy", "OUT.npy", "--system", "two", "--precision", "int3"), "--precision: precision 'int3'"),
        (("units", "IN", "--system", "two"), "units of a folder go to a folder; give --out"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(
    respeak: Respeak, systems: Path, recordings: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    np.save(recordings / "one.npy", np.zeros((3, 4), np.float32))
    places = {"IN": str(recordings), "OUT": str(tmp_path / "out")}
    given = [a.replace("IN", places["IN"]).replace("OUT", places["OUT"]) for a in arguments]
    given = [str(systems / a) if (systems / a).is_dir() else a for a in given]
    status, _, err = respeak(*given)
    assert status == 2 and message in err and err.count("\n") == 1


def test_info_says_what_it_is(respeak: Respeak, systems: Path) -> None:
    status, out, _ = respeak("info", systems / "softvc-discrete")
    assert status == 0
    assert "softvc (format 1, scale tiny)" in out and f"units, {UNITS} units, 50 per second" in out


def test_a_damaged_bundle_is_refused(systems: Path, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(systems / "softvc-discrete", folder)
    (folder / "centroids.safetensors").unlink()
    with pytest.raises(UserError, match=r"centroids\.safetensors is missing"):
        SoftVCBundle.load(folder)
    shutil.copy(systems / "softvc-soft" / "acoustic.safetensors", folder)
    shutil.copy(systems / "softvc-discrete" / "centroids.safetensors", folder)
    with pytest.raises(UserError, match=r"acoustic\.safetensors: not the architecture"):
        SoftVCBundle.load(folder).acoustic()
    with pytest.raises(UserError, match="holds a system 'softvc', expected 'resynthesis'"):
        ResynthesisBundle.load(_complete(folder))


def _complete(folder: Path) -> Path:
    for name in ("model.safetensors", "speakers.json"):
        (folder / name).write_bytes(b"{}")
    return folder


def test_the_command_knows_the_steps() -> None:
    names = {command.callback.__name__ for command in app.app.registered_commands if command.callback}
    assert {"units", "mel", "vocode", "convert"} <= names
