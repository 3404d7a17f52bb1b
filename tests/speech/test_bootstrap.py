from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap

from speech.metrics.bootstrap import paired_difference, ratio_interval
from speech.metrics.summary import f0_metrics, speaker_metrics, word_metrics


def counts(seed: int, size: int = 200) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    words = rng.integers(1, 12, size)
    return rng.binomial(words, 0.2), words


def test_ratio_interval_is_scipys_percentile_interval() -> None:
    errors, words = counts(0)
    found = ratio_interval(errors, words, resamples=5000, seed=1)
    expected = bootstrap(
        (errors, words),
        lambda e, w, axis: e.sum(axis) / w.sum(axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=5000,
        rng=np.random.default_rng(2),
    ).confidence_interval
    assert found.value == pytest.approx(errors.sum() / words.sum())
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.002)


def test_paired_difference_is_narrower_than_an_unpaired_one_and_repeats() -> None:
    errors, words = counts(1)
    worse = np.minimum(errors + (np.arange(len(words)) % 10 == 0), words)
    found = paired_difference((worse, words), (errors, words), 2000, seed=0)
    assert found.value == pytest.approx((worse.sum() - errors.sum()) / words.sum())
    alone = ratio_interval(worse, words, 2000)
    assert 0 < found.low < found.high
    assert found.high - found.low < 0.5 * (alone.high - alone.low)
    assert found == paired_difference((worse, words), (errors, words), 2000, seed=0)


def test_identical_systems_do_not_differ() -> None:
    found = paired_difference(counts(2), counts(2), 100)
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="same utterances"):
        paired_difference(counts(2), counts(2, 10), 100)


def test_nothing_to_count_is_not_a_number() -> None:
    assert np.isnan(ratio_interval(np.zeros(3), np.zeros(3), 10).value)
    assert np.isnan(ratio_interval(np.zeros(0), np.zeros(0), 10).low)


def test_metrics_leave_out_what_was_not_measured() -> None:
    row = {"words": 4, "word_errors": 1, "chars": 20, "char_errors": 2, "frames": 10, "voicing_errors": 1}
    row |= {"voiced_both": 0, "gross_errors": 0, "squared_cents": 0.0}
    silent = dict.fromkeys(row)
    assert word_metrics([row, silent], 10, 0)["wer"] == 25.0
    assert word_metrics([silent], 10, 0) == f0_metrics([silent], 10, 0) == {}
    measured = f0_metrics([row, silent], 10, 0)
    assert measured["vde"] == measured["ffe"] == 10.0
    assert "gpe" not in measured
    assert "f0_rmse_cents" not in measured
    assert speaker_metrics(np.ones((3, 1)), np.zeros(3, int), 10, 0) == {}
