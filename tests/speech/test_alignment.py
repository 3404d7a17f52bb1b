"""Silence, delays and time warping: planted ones are found, and librosa warps alike."""

from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile

from speech.audio.waveforms import resample
from speech.metrics.alignment import align, best_lag, shift, speech_frames, take, warp
from speech.metrics.f0_metrics import compare_f0, ffe, gpe
from speech.pitch import extract_f0


@pytest.fixture(scope="module")
def sentence(shared: Path) -> np.ndarray:
    path = next((shared / "data/LJSpeech-1.1/wavs").glob("LJ001-0002.*"))
    return resample(*soundfile.read(path, dtype="float32"))


def padded(wave: np.ndarray, before: int, after: int) -> np.ndarray:
    """Faint noise on either side, in frames."""
    noise = 1e-4 * np.random.default_rng(0).standard_normal(len(wave) + 80 * (before + after)).astype(np.float32)
    noise[80 * before : 80 * before + len(wave)] += wave
    return noise


@pytest.mark.parametrize("lag", [-13, 0, 1, 20])
def test_a_delay_is_found_and_taken_out(sentence: np.ndarray, lag: int) -> None:
    output = 0.3 * (sentence if not lag else shift(sentence, -lag, len(sentence)))
    assert best_lag(sentence, output) == lag
    here, there, found = align(sentence, output, "lag")
    assert found == lag
    np.testing.assert_array_equal(there, here + lag)
    np.testing.assert_allclose(
        take(output, 80 * there), 0.3 * take(sentence, 80 * here) * (take(output, 80 * there) != 0)
    )
    assert align(sentence, output, "none")[2] == 0


def test_a_delay_that_is_not_taken_out_costs_f0(sentence: np.ndarray) -> None:
    f0, late = extract_f0(sentence, "dio"), shift(sentence, -10, len(sentence))
    errors = {}
    for mode in ("none", "lag", "dtw"):
        here, there, _ = align(sentence, late, mode)  # type: ignore[arg-type]
        errors[mode] = ffe(compare_f0(take(f0, here), take(extract_f0(late, "dio"), there)))
    assert errors["none"] > 10
    assert errors["lag"] < 0.5
    assert errors["dtw"] < 3


def test_other_timing_needs_warping(sentence: np.ndarray) -> None:
    """Every second stretch of 100 ms said twice as slowly, by WORLD."""
    import pyworld

    wave = sentence.astype(np.float64)
    f0, times = pyworld.harvest(wave, 16_000)
    envelope, noise = pyworld.cheaptrick(wave, f0, times, 16_000), pyworld.d4c(wave, f0, times, 16_000)
    slowed = np.repeat(np.arange(len(f0)), 1 + (np.arange(len(f0)) // 20 % 2))
    output = pyworld.synthesize(f0[slowed], envelope[slowed], noise[slowed], 16_000).astype(np.float32)
    errors = {}
    for mode in ("lag", "dtw"):
        here, there, _ = align(sentence, output, mode)  # type: ignore[arg-type]
        reference, found = extract_f0(sentence, "dio"), extract_f0(output, "dio")
        errors[mode] = compare_f0(take(reference, here), take(found, there))
    assert ffe(errors["dtw"]) < 12 < 30 < ffe(errors["lag"])
    assert gpe(errors["dtw"]) < 3


def test_silence_around_the_speech_does_not_count(sentence: np.ndarray) -> None:
    start, end = speech_frames(sentence)
    around = padded(sentence, 40, 60)
    assert speech_frames(around) == (start + 40, end + 40)
    here, _, _ = align(around, around, "none")
    assert (here[0], here[-1]) == (start + 40, end + 39)
    assert speech_frames(np.zeros(800, np.float32)) == (0, 0)
    for mode in ("none", "lag", "dtw"):
        assert not len(align(np.zeros(8000, np.float32), sentence, mode)[0])  # type: ignore[arg-type]


def test_what_lies_outside_of_a_contour_is_unvoiced() -> None:
    np.testing.assert_array_equal(take(np.array([1.0, 2.0]), np.arange(-1, 4)), [0, 1, 2, 0, 0])


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 5), (7, 1), (30, 41), (50, 20)])
def test_warping_costs_what_librosas_costs(n: int, m: int) -> None:
    rng = np.random.default_rng(n)
    one, other = rng.standard_normal((n, 4)), rng.standard_normal((m, 4))
    rows, columns = warp(one, other)
    assert (rows[0], columns[0], rows[-1], columns[-1]) == (0, 0, n - 1, m - 1)
    steps = np.stack([np.diff(rows), np.diff(columns)])
    assert ((steps >= 0) & (steps <= 1)).all() and (steps.sum(axis=0) > 0).all()
    expected = librosa.sequence.dtw(one.T, other.T, backtrack=False)[-1, -1]
    assert np.linalg.norm(one[rows] - other[columns], axis=1).sum() == pytest.approx(expected)
