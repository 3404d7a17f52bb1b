"""Units of recordings: the same from a bundle, from the stages' folders, and from the system that speaks them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from respeak import System
from respeak.encoders.unit_encoder import UnitEncoder, pieces
from speech.errors import AudioError, UserError
from tests.respeak.tiny import make_bundle

Recording = tuple[np.ndarray, int]


@pytest.fixture(scope="module")
def sentence(shared: Path) -> Recording:
    wave, rate = soundfile.read(shared / "data/LJSpeech-1.1/wavs/LJ001-0002.flac", dtype="float32")
    return np.concatenate([np.zeros(rate // 2, np.float32), wave]), rate


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``kmeans`` and ``encoder`` as the stages leave them, of a bundle without speakers' normalisation."""
    root = tmp_path_factory.mktemp("stages")
    bundle = make_bundle(root / "system", normalise="utterance")
    shutil.copytree(bundle / "encoder", root / "encoder")
    (root / "kmeans").mkdir()
    shutil.copy(bundle / "centroids.safetensors", root / "kmeans")
    encoder = yaml.safe_load((root / "encoder/config.yaml").read_text())
    config = {"k": 12, "dim": encoder["dim"], "normalise": "utterance", "encoder": encoder["hash"]}
    (root / "kmeans/config.yaml").write_text(yaml.safe_dump(config))
    return root


def test_a_bundle_gives_the_units_that_it_speaks(folders: Path, sentence: Recording) -> None:
    system = System.load(folders / "system", "cpu")
    encoded = system.encode(*sentence)
    spoken = UnitEncoder.load(folders / "system", device="cpu").encode(*sentence)
    assert np.array_equal(spoken.units, encoded.units[: len(spoken.units)])
    assert len(spoken.units) == -(-encoded.num_speech // 320)


def test_times_are_those_of_the_recording(folders: Path, sentence: Recording) -> None:
    """Half a second of zeros before the speech is cut by the bundle, and in the times."""
    trimmed = UnitEncoder.load(folders / "system", device="cpu").encode(*sentence)
    whole = UnitEncoder.load(folders / "kmeans", device="cpu").encode(*sentence)
    assert 0.4 < trimmed.start < 0.7
    assert whole.start == 0
    assert len(whole.units) == -(-round(len(sentence[0]) / sentence[1] * 16000) // 320)
    np.testing.assert_allclose(np.diff(whole.times()), 0.02)
    assert trimmed.times()[-1] + 0.02 <= len(sentence[0]) / sentence[1] + 0.02


def test_encoder_and_centres_must_belong_together(folders: Path, tmp_path: Path) -> None:
    for name in ("kmeans", "encoder"):
        shutil.copytree(folders / name, tmp_path / name)
    with pytest.raises(UserError, match=r"elsewhere/config\.yaml: not found"):
        UnitEncoder.load(tmp_path / "kmeans", tmp_path / "elsewhere")
    config = yaml.safe_load((tmp_path / "kmeans/config.yaml").read_text())
    (tmp_path / "kmeans/config.yaml").write_text(yaml.safe_dump({**config, "encoder": "f" * 64}))
    with pytest.raises(UserError, match="fitted on encoder ffffffffffff"):
        UnitEncoder.load(tmp_path / "kmeans")
    (tmp_path / "kmeans/config.yaml").write_text(yaml.safe_dump({**config, "k": 13}))
    with pytest.raises(UserError, match="does not describe the centres"):
        UnitEncoder.load(tmp_path / "kmeans")
    (tmp_path / "kmeans/centroids.safetensors").write_bytes(b"x")
    with pytest.raises(UserError, match="no centres can be read"):
        UnitEncoder.load(tmp_path / "kmeans")
    with pytest.raises(UserError, match="neither a system's bundle nor k-means centres"):
        UnitEncoder.load(tmp_path)


def test_silence_has_no_units(folders: Path) -> None:
    with pytest.raises(AudioError, match="silent"):
        UnitEncoder.load(folders / "kmeans", device="cpu").encode(np.zeros(16000, np.float32), 16000)


@pytest.mark.parametrize("seconds", [0.5, 60.0, 60.02, 130.0])
def test_pieces_own_every_unit_once(seconds: float) -> None:
    wave = np.arange(int(seconds * 16000) // 1280 * 1280)
    owned = [piece[own.start * 320 : own.stop * 320] for piece, own in pieces(wave, 1280)]
    assert np.array_equal(np.concatenate(owned), wave)
