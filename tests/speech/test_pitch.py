"""F0 of synthetic signals with known pitch, its statistics and normalisation (beside the golden cases)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from speech.audio.waveforms import read_wave
from speech.errors import UserError
from speech.pitch import (
    VoicedSums,
    audible_frames,
    denormalise_f0,
    extract_f0,
    frame_rms,
    hum_lines,
    normalise_f0,
    num_f0_frames,
    voiced_statistics,
)

RATE = 16_000
METHODS = ["harvest", "dio"]
ALL = [*METHODS, "yaapt"]


def harmonics(f0: np.ndarray, count: int = 10) -> np.ndarray:
    """A voice-like tone whose instantaneous frequency is ``f0`` ``(T,)`` Hz."""
    phase = 2 * np.pi * np.cumsum(f0) / RATE
    wave = sum(np.sin(k * phase) / k for k in range(1, count + 1))
    return (0.3 * wave).astype(np.float32)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("hertz", [80.0, 160.0, 350.0])
def test_steady_tone_is_tracked(method: str, hertz: float) -> None:
    f0 = extract_f0(harmonics(np.full(RATE // 4, hertz)), method)
    inner = f0[10:-10]
    assert (inner > 0).mean() > 0.98
    assert np.median(np.abs(inner[inner > 0] - hertz)) < 0.005 * hertz


@pytest.mark.parametrize("method", METHODS)
def test_glide_is_tracked_in_time(method: str) -> None:
    track = np.geomspace(100, 150, RATE // 2).astype(np.float64)
    f0 = extract_f0(harmonics(track), method)
    expected = track[::80]
    inside = slice(10, -10)
    assert (f0[inside] > 0).mean() > 0.95
    voiced = f0[inside] > 0
    cents = 1200 * np.log2(f0[inside][voiced] / expected[inside][voiced])
    # 1400 cents a second: a shift by one frame (5 ms) would show as 7 cents.
    assert abs(np.median(cents)) < 3
    assert np.percentile(np.abs(cents), 95) < 15


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("samples", [0, 1, 79, 80, 1280, 3333])
def test_length_is_exact(method: str, samples: int) -> None:
    wave = harmonics(np.full(max(samples, 1), 150.0))[:samples]
    f0 = extract_f0(wave, method)
    assert f0.shape == (samples // 80,) == (num_f0_frames(samples),)
    assert f0.dtype == np.float32


@pytest.mark.parametrize("method", ALL)
def test_silence_is_unvoiced(method: str) -> None:
    noise = np.random.default_rng(0).standard_normal(RATE)
    for wave in (np.zeros(RATE), 1e-5 * noise, np.full(RATE, 1e-6)):
        assert not extract_f0(wave.astype(np.float32), method).any()


@pytest.mark.parametrize("method", METHODS)
def test_padding_stays_unvoiced(method: str) -> None:
    tone = harmonics(np.full(RATE // 2, 120.0))
    hiss = 1e-4 * np.random.default_rng(0).standard_normal(RATE // 2).astype(np.float32)
    for quiet in (np.zeros(RATE // 2, np.float32), hiss):
        f0 = extract_f0(np.concatenate([quiet, tone, quiet]), method)
        assert not f0[:95].any() and not f0[-95:].any()
        assert (f0[110:190] > 0).mean() > 0.95


@pytest.mark.parametrize("method", METHODS)
def test_noise_is_mostly_unvoiced(method: str) -> None:
    noise = 0.1 * np.random.default_rng(1).standard_normal(RATE // 2)
    assert (extract_f0(noise.astype(np.float32), method) > 0).mean() < 0.1


@pytest.mark.parametrize("mains", [50.0, 60.0])
def test_mains_hum_does_not_hide_a_voice(mains: float) -> None:
    rng = np.random.default_rng(6)
    voiced = np.sin(2 * np.pi * np.arange(2 * RATE) / RATE) > 0
    voice = harmonics(110 + 20 * np.sin(np.arange(2 * RATE) / 3000)) * voiced
    clean = voice + 1e-3 * rng.standard_normal(2 * RATE)
    hum = 0.3 * np.sin(2 * np.pi * mains * np.arange(2 * RATE) / RATE)
    assert hum_lines(clean) == [] and hum_lines(clean + hum) == [mains]
    expected, found = extract_f0(clean, "dio"), extract_f0(clean + hum, "dio")
    both = (expected > 0) & (found > 0)
    assert ((expected > 0) != (found > 0)).mean() < 0.06 and both.mean() > 0.4
    assert np.percentile(np.abs(found[both] / expected[both] - 1), 95) < 0.02


def test_humming_sentences_agree_with_yaapt(shared: Path) -> None:
    for name, mains in (("7148/59157/7148-59157-0000", 60.0), ("1723/141149/1723-141149-0000", 50.0)):
        wave, rate = read_wave(shared / f"data/LibriSpeech/train-clean-100/{name}.flac")
        wave = wave[: 4 * rate]
        assert rate == RATE and hum_lines(wave) == [mains]
        published, found = extract_f0(wave, "yaapt"), extract_f0(wave, "dio")
        assert ((published > 0) != (found > 0)).mean() < 0.15
        both = (published > 0) & (found > 0)
        assert np.median(np.abs(found[both] / published[both] - 1)) < 0.02


def test_repeats_bit_equal() -> None:
    wave = harmonics(np.geomspace(90, 180, RATE // 4)) + 0.01 * np.random.default_rng(2).standard_normal(RATE // 4)
    assert np.array_equal(extract_f0(wave), extract_f0(wave))


def test_unknown_method_is_named() -> None:
    with pytest.raises(UserError, match="yin"):
        extract_f0(np.zeros(1600, np.float32), "yin")


def test_frame_rms_matches_librosa() -> None:
    import librosa

    wave = np.random.default_rng(3).standard_normal(4000).astype(np.float32)
    reference = librosa.feature.rms(y=wave, frame_length=400, hop_length=80, pad_mode="constant")[0]
    np.testing.assert_allclose(frame_rms(wave), reference[:50], rtol=1e-5)
    assert audible_frames(wave).all()


@pytest.mark.parametrize("mode", ["hz", "log"])
def test_normalisation_inverts(mode: str) -> None:
    rng = np.random.default_rng(4)
    f0 = np.where(rng.random(500) < 0.6, rng.uniform(80, 300, 500), 0).astype(np.float32)
    stats = voiced_statistics(f0)
    normalised = normalise_f0(f0, stats, mode)
    assert abs(normalised[f0 > 0].mean()) < 1e-5
    assert normalised[f0 > 0].std() == pytest.approx(1, abs=1e-4)
    assert not normalised[f0 == 0].any()
    np.testing.assert_allclose(denormalise_f0(normalised, stats, mode, f0 > 0), f0, rtol=1e-5)


def test_statistics_match_numpy_and_merge() -> None:
    rng = np.random.default_rng(5)
    tracks = [np.where(rng.random(400) < 0.5, rng.normal(200, 20, 400), 0) for _ in range(3)]
    whole, parts = VoicedSums(), VoicedSums()
    for track in tracks:
        whole.add(track)
        one = VoicedSums()
        one.add(track)
        parts.merge(one)
    voiced = np.concatenate([track[track > 0] for track in tracks])
    for sums in (whole, parts):
        stats = sums.statistics()
        assert stats["voiced_frames"] == len(voiced)
        assert stats["hz"] == pytest.approx({"mean": voiced.mean(), "std": voiced.std()})
        assert stats["log"] == pytest.approx({"mean": np.log(voiced).mean(), "std": np.log(voiced).std()})


def test_monotone_voice_stays_finite() -> None:
    f0 = np.full(100, 120.0)
    normalised = normalise_f0(f0, voiced_statistics(f0), "hz")
    assert np.isfinite(normalised).all() and np.abs(normalised).max() < 1e-6


def test_no_voiced_frame_is_a_user_error() -> None:
    with pytest.raises(UserError, match="no voiced frame"):
        voiced_statistics(np.zeros(10))
