from __future__ import annotations

import dataclasses

import mir_eval.melody
import numpy as np
import pytest

from speech.metrics.f0_metrics import compare_f0, f0_rmse_cents, ffe, gpe, move_contour, vde


def contour(seed: int, frames: int = 4000) -> np.ndarray:
    rng = np.random.default_rng(seed)
    f0 = 120 * np.exp(np.cumsum(rng.normal(0, 0.01, frames)))
    f0[np.repeat(rng.random(frames // 20) < 0.4, 20)] = 0
    return f0


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_mir_eval(seed: int) -> None:
    rng = np.random.default_rng(100 + seed)
    reference = contour(seed)
    output = reference * np.exp(rng.normal(0, 0.15, len(reference)))
    output[rng.random(len(reference)) < 0.1] = 0
    output[(reference == 0) & (rng.random(len(reference)) < 0.2)] = 130.0
    counts = compare_f0(reference, output)

    voiced, found = reference > 0, output > 0
    recall, false_alarm = mir_eval.melody.voicing_measures(voiced, found)
    missed, added = (1 - recall) * voiced.sum(), false_alarm * (~voiced).sum()
    assert counts.voicing_errors == pytest.approx(missed + added)

    # mir_eval's tolerance is in cents and symmetric: count the upper and the lower bound of 20 % apart.
    both = voiced & found
    cents_ref, cents_out = mir_eval.melody.hz2cents(reference[both]), mir_eval.melody.hz2cents(output[both])
    gross = 0.0
    for side, bound in ((cents_out >= cents_ref, np.log2(1.2)), (cents_out < cents_ref, -np.log2(0.8))):
        ones = np.ones(side.sum(), bool)
        hit = mir_eval.melody.raw_pitch_accuracy(ones, cents_ref[side], ones, cents_out[side], 1200 * bound)
        gross += (1 - hit) * side.sum()
    assert counts.gross_errors == pytest.approx(gross)
    assert f0_rmse_cents(counts) == pytest.approx(np.sqrt(np.mean((cents_out - cents_ref) ** 2)))


def test_raising_f0_by_30_percent_moves_gpe_and_cents_only() -> None:
    reference = contour(0)
    counts = compare_f0(reference, reference * 1.3)
    assert (vde(counts), gpe(counts)) == (0.0, 100.0)
    assert ffe(counts) == pytest.approx(100 * np.mean(reference > 0))
    assert f0_rmse_cents(counts) == pytest.approx(1200 * np.log2(1.3))
    assert gpe(compare_f0(reference, reference * 1.3, tolerance=0.31)) == 0.0


def test_flipping_voicing_moves_vde_and_leaves_gpe() -> None:
    reference = contour(1)
    output = reference.copy()
    wrong = np.flatnonzero(reference > 0)[:400]
    output[wrong] = 0
    counts = compare_f0(reference, output)
    assert vde(counts) == ffe(counts) == pytest.approx(10.0)
    assert gpe(counts) == f0_rmse_cents(counts) == 0.0


def test_only_the_speech_part_counts_and_an_early_end_is_unvoiced() -> None:
    reference = np.full(100, 150.0)
    output = np.concatenate([np.full(60, 150.0), np.zeros(40)])
    assert compare_f0(reference, output, num_frames=60).voicing_errors == 0
    assert compare_f0(reference, output[:60]) == compare_f0(reference, output)
    assert compare_f0(reference, output[:60]).voicing_errors == 40


def test_rates_without_frames_are_not_numbers() -> None:
    counts = compare_f0(np.zeros(10), np.zeros(10))
    assert vde(counts) == 0.0
    assert np.isnan([gpe(counts), f0_rmse_cents(counts), vde(dataclasses.replace(counts, frames=0))]).all()


def test_moved_contour_has_the_targets_statistics_and_the_sources_voicing() -> None:
    f0 = contour(2)
    logs = np.log(f0[f0 > 0])
    moved = move_contour(f0, (logs.mean(), logs.std()), (np.log(220.0), 0.2))
    assert np.array_equal(moved > 0, f0 > 0)
    assert np.log(moved[moved > 0]).mean() == pytest.approx(np.log(220.0))
    assert np.log(moved[moved > 0]).std() == pytest.approx(0.2)
    flat = move_contour(np.full(5, 100.0), (np.log(100.0), 0.0), (np.log(200.0), 0.1))
    assert flat == pytest.approx(np.full(5, 200.0))
