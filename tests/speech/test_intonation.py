from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech.errors import UserError
from speech.intonation import FLAT, UNCHANGED, Intonation, carry_melody, intone
from speech.pitch import denormalise_f0, normalise_f0, voiced_statistics

RNG = np.random.default_rng(0)
HZ = np.where(RNG.random(400) < 0.6, RNG.normal(140, 20, 400).clip(70, 300), 0).astype(np.float32)
VOICED = HZ > 0
STATS = voiced_statistics(HZ)


@pytest.mark.parametrize("mode", ["hz", "log"])
@pytest.mark.parametrize("semitones", [-5.0, 2.0, 12.0])
def test_a_shift_is_the_same_interval_for_every_frame(mode: str, semitones: float) -> None:
    moved = intone(normalise_f0(HZ, STATS, mode), VOICED, STATS, mode, Intonation(semitones))
    heard = denormalise_f0(moved, STATS, mode, VOICED)
    np.testing.assert_allclose(12 * np.log2(heard[VOICED] / HZ[VOICED]), semitones, atol=1e-3)
    assert not moved[~VOICED].any()


@pytest.mark.parametrize("mode", ["hz", "log"])
def test_a_span_scales_the_distances_from_the_mean(mode: str) -> None:
    f0 = normalise_f0(HZ, STATS, mode)
    wide, narrow = (intone(f0, VOICED, STATS, mode, Intonation(span=span)) for span in (1.5, 0.5))
    np.testing.assert_allclose(wide, 1.5 * f0, rtol=1e-6)
    np.testing.assert_allclose(narrow, 0.5 * f0, rtol=1e-6)
    assert intone(f0, VOICED, STATS, mode, UNCHANGED).tolist() == f0.tolist()


@pytest.mark.parametrize(("band", "level"), [((-0.3, 0.5), -0.3), ((-0.5, 0.3), 0.3), ((-np.inf, 0.2), 0.2)])
def test_a_flat_melody_is_one_level_beside_the_band_of_unvoiced_speech(band: tuple[float, float], level: float) -> None:
    flat = intone(normalise_f0(HZ, STATS, "hz"), VOICED, STATS, "hz", FLAT, band)
    assert set(flat[VOICED].tolist()) == {np.float32(level)}
    assert not flat[~VOICED].any()


@given(span=st.floats(0, 0.99), low=st.floats(-1, -0.01), high=st.floats(0.01, 1))
def test_no_narrowed_frame_is_inside_the_band(span: float, low: float, high: float) -> None:
    moved = intone(normalise_f0(HZ, STATS, "hz"), VOICED, STATS, "hz", Intonation(span=span), (low, high))
    inside = (moved[VOICED] > np.float32(low)) & (moved[VOICED] < np.float32(high))
    assert not inside.any()


def test_a_melody_is_carried_to_another_length_and_voicing() -> None:
    melody = np.linspace(-1, 1, 100)
    melody[40:60] = 0  # unvoiced: bridged
    voiced = np.ones(250, bool)
    voiced[:20] = False
    carried = carry_melody(melody, voiced)
    assert carried.shape == (250,) and not carried[:20].any()
    expected = np.linspace(-1, 1, 250)
    np.testing.assert_allclose(carried[20:], expected[20:], atol=0.02)
    same = carry_melody(melody, melody != 0)
    np.testing.assert_allclose(same, melody, atol=1e-6)


def test_impossible_wishes_are_refused() -> None:
    with pytest.raises(UserError, match="0 is flat"):
        Intonation(span=-1)
    with pytest.raises(UserError, match="no voiced frame"):
        carry_melody(np.zeros(10), np.ones(5, bool))
