from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from speech.metrics.speaker_metrics import (
    cosine_scores,
    eer_interval,
    equal_error_rate,
    join_groups,
    nearest_speaker_hits,
)


def sklearn_eer(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray | None = None) -> float:
    accepted, hit, _ = roc_curve(truth, scores, sample_weight=weights, drop_intermediate=False)
    grid = np.linspace(0, 1, 200_001)
    return 100 * grid[np.argmin(np.abs(np.interp(grid, accepted, hit) - (1 - grid)))]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("ties", [False, True])
def test_eer_is_where_sklearns_roc_crosses(seed: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.random(300) < 0.3
    scores = rng.normal(size=300) + rng.uniform(0, 3) * truth
    if ties:
        scores = np.round(scores)
    weights = rng.integers(0, 4, 300) if seed % 2 else None
    used = slice(None) if weights is None else weights > 0
    expected = sklearn_eer(scores[used], truth[used], None if weights is None else weights[used])
    assert equal_error_rate(scores, truth, weights) == pytest.approx(expected, abs=0.02)


def test_eer_of_perfect_reversed_and_one_sided_trials() -> None:
    scores, truth = np.array([0.9, 0.8, 0.2, 0.1]), np.array([True, True, False, False])
    assert equal_error_rate(scores, truth) == 0.0
    assert equal_error_rate(scores, ~truth) == 100.0
    assert equal_error_rate(np.ones(4), truth) == 50.0
    assert np.isnan(equal_error_rate(scores, np.ones(4, bool)))
    assert np.isnan(equal_error_rate(np.zeros(0), np.zeros(0, bool)))


def test_swapped_speakers_lower_accuracy_by_their_share() -> None:
    rng = np.random.default_rng(0)
    enrolled = np.linalg.qr(rng.normal(size=(32, 4)))[0].T
    intended = np.repeat(np.arange(4), 10)
    groups = enrolled[intended] + 0.02 * rng.normal(size=(40, 32))
    scores = cosine_scores(3.0 * groups, enrolled)
    assert nearest_speaker_hits(scores, intended).mean() == 1.0
    assert eer_interval(scores, intended, 50).value == 0.0
    swapped = intended.copy()
    swapped[:4] = (swapped[:4] + 1) % 4
    assert nearest_speaker_hits(scores, swapped).mean() == pytest.approx(0.9)
    interval = eer_interval(scores, swapped, 200, seed=1)
    assert interval.low <= interval.value <= interval.high
    assert interval == eer_interval(scores, swapped, 200, seed=1)
    assert interval.value > 0


def test_groups_are_full_and_lose_no_utterance() -> None:
    seconds = np.random.default_rng(0).uniform(0.2, 0.8, 50).tolist()
    groups = join_groups(seconds, 4.0, seed=3)
    assert sorted(i for group in groups for i in group) == list(range(50))
    assert all(sum(seconds[i] for i in group) >= 4.0 for group in groups)
    assert groups == join_groups(seconds, 4.0, seed=3) != join_groups(seconds, 4.0, seed=4)
    assert join_groups(seconds, 4.0, seed=3, max_groups=2) == groups[:2]


def test_a_speaker_with_one_utterance_gets_one_short_group() -> None:
    assert join_groups([0.5], 4.0, seed=0) == [[0]]
    assert join_groups([], 4.0, seed=0) == []
