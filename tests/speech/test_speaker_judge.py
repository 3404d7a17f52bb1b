"""d-vectors on real digits: one speaker's are closer than two speakers'."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from speech.audio.waveforms import read_wave, resample
from speech.dvectors import embed, similarity


def digits(shared: Path, speaker: str, take: int, names: str) -> np.ndarray:
    folder = shared / "data/free-spoken-digit-dataset/recordings"
    waves = [resample(*read_wave(folder / f"{digit}_{speaker}_{take}.wav")) for digit in names]
    return np.concatenate([0.95 * wave / np.abs(wave).max() for wave in waves])


def test_speakers_are_told_apart_on_joined_digits(shared: Path) -> None:
    vectors = {
        speaker: [embed(digits(shared, speaker, take, "01234")) for take in (0, 7)] for speaker in ("george", "theo")
    }
    within = [similarity(*pair) for pair in vectors.values()]
    across = [similarity(a, b) for a, b in itertools.product(*vectors.values())]
    assert min(within) > max(across) + 0.1
    for vector in itertools.chain(*vectors.values()):
        assert vector.shape == (256,) and vector.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vector), 1, rtol=1e-5)


def test_awkward_recordings_have_a_vector() -> None:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(16_000).astype(np.float32)
    for wave in (noise[:100], 0.01 * noise[:1600], 1e-6 * noise, np.clip(noise, -1, 1)):
        vector = embed(wave)
        assert np.isfinite(vector).all()
        np.testing.assert_allclose(np.linalg.norm(vector), 1, rtol=1e-5)
    assert not embed(np.zeros(16_000, np.float32)).any()
