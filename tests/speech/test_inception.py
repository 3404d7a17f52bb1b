from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax
from scipy.stats import entropy

from speech.metrics.bootstrap import set_interval
from speech.metrics.frechet import fit_gaussian, frechet_distance
from speech.metrics.inception import RealDigits, am_score, inception_score, modified_inception_score
from speech.metrics.summary import digit_set_metrics


def logs(seed: int, count: int, sure: float) -> np.ndarray:
    """Log probabilities of ten classes, each equally often the likeliest."""
    logits = np.random.default_rng(seed).normal(size=(count, 10))
    logits[np.arange(count), np.arange(count) % 10] += sure
    return log_softmax(logits, axis=1)


def test_scores_are_scipys_entropies() -> None:
    found, real = logs(0, 20, 2.0), np.exp(logs(1, 50, 3.0)).mean(0)
    probabilities = np.exp(found)
    pairs = [entropy(one, other) for one in probabilities for other in probabilities]
    assert modified_inception_score(found) == pytest.approx(np.exp(np.mean(pairs)))
    assert modified_inception_score(found, 100_000) == pytest.approx(np.exp(np.mean(pairs)), rel=0.03)
    expected = entropy(real, probabilities.mean(0)) + np.mean([entropy(row) for row in probabilities])
    assert am_score(found, real) == pytest.approx(expected)


def test_what_is_perfect_and_what_is_worst() -> None:
    sure, even = logs(0, 1000, 60.0), np.full((1000, 10), np.log(0.1))
    real = np.full(10, 0.1)
    assert inception_score(sure) == pytest.approx(10, rel=0.05)  # halves hold classes unequally often
    assert am_score(sure, real) == pytest.approx(0, abs=1e-9)
    assert inception_score(even) == pytest.approx(1)
    assert modified_inception_score(even) == pytest.approx(1)
    assert am_score(even, real) == pytest.approx(np.log(10))
    # One class alone, said for certain: neither various nor balanced.
    same = np.repeat(sure[:1], 1000, 0)
    assert inception_score(same) == pytest.approx(1)
    assert am_score(same, real) > 2
    # Surer is better by every score.
    less, more = logs(2, 500, 1.0), logs(2, 500, 4.0)
    assert inception_score(less) < inception_score(more)
    assert modified_inception_score(less) < modified_inception_score(more)
    assert am_score(less, real) > am_score(more, real)


def test_an_interval_of_a_set_is_as_wide_as_other_sets_lie_apart() -> None:
    rng = np.random.default_rng(0)
    real = fit_gaussian(rng.normal(size=(3000, 8)))

    def draw() -> np.ndarray:
        return rng.normal(size=(100, 8))

    once = draw()
    found = set_interval(lambda drawn: frechet_distance(fit_gaussian(once[drawn]), real), 100, 300, seed=1)
    others = np.percentile([frechet_distance(fit_gaussian(draw()), real) for _ in range(300)], [2.5, 97.5])
    assert found.value == pytest.approx(frechet_distance(fit_gaussian(once), real))
    assert found.low < found.value < found.high
    assert 0.7 < (found.high - found.low) / (others[1] - others[0]) < 2
    mean = set_interval(lambda drawn: float(once[drawn, 0].mean()), 100, 2000)
    assert mean.high - mean.low == pytest.approx(2 * 1.96 * once[:, 0].std() / 10, rel=0.1)


def packed(features: np.ndarray, logs: np.ndarray) -> list[dict[str, bytes]]:
    pairs = zip(features.astype("<f4"), logs.astype("<f4"), strict=True)
    return [{"digit_features": one.tobytes(), "digit_log_probabilities": other.tobytes()} for one, other in pairs]


def test_metrics_are_of_those_that_the_classifier_heard() -> None:
    rng, found = np.random.default_rng(0), logs(0, 40, 3.0)
    features = rng.normal(size=(40, 4))
    heard = packed(features, found)
    silent = {"digit_features": None, "digit_log_probabilities": None}
    real = RealDigits(fit_gaussian(rng.normal(size=(90, 4))), np.full(10, 0.1))
    metrics = digit_set_metrics([silent, *heard], real, 30, 0)
    assert metrics["inception_score"] == pytest.approx(inception_score(found), rel=1e-4)
    assert metrics["am_score"] == pytest.approx(am_score(found, np.full(10, 0.1)), rel=1e-4)
    assert metrics["modified_inception_score"] == pytest.approx(modified_inception_score(found), rel=1e-4)
    assert metrics["digit_fid_low"] < metrics["digit_fid"] < metrics["digit_fid_high"]
    # The same features further off are further off.
    assert digit_set_metrics(packed(features + 3, found), real, 30, 0)["digit_fid"] > metrics["digit_fid"] + 20
    assert digit_set_metrics([silent, heard[0]], real, 30, 0) == {} == digit_set_metrics(heard, None, 30, 0)
