from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm

from speech.metrics.frechet import Gaussian, fit_gaussian, frechet_distance


def distance(one: np.ndarray, other: np.ndarray) -> float:
    return frechet_distance(fit_gaussian(one), fit_gaussian(other))


def drawn(seed: int, count: int, dims: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, dims)) @ rng.normal(size=(dims, dims)) + rng.normal(size=dims)


@pytest.mark.parametrize("seed", range(5))
def test_it_is_scipys_square_root(seed: int) -> None:
    one, other = drawn(seed, 200, 24), drawn(seed + 100, 150, 24)
    covariances = [np.cov(features, rowvar=False) for features in (one, other)]
    apart = np.sum((one.mean(0) - other.mean(0)) ** 2)
    theirs = apart + np.trace(sum(covariances) - 2 * sqrtm(covariances[0] @ covariances[1]).real)
    assert distance(one, other) == pytest.approx(theirs, rel=1e-8)


def test_known_gaussians() -> None:
    deviations, means = np.array([[1.0, 2.0, 3.0], [2.0, 2.0, 0.5]]), np.array([[0.0, 0.0, 1.0], [3.0, 0.0, -1.0]])
    one, other = (Gaussian(mean, np.diag(deviation)) for mean, deviation in zip(means, deviations, strict=True))
    # Of commuting covariances: the squared distance of the means and of the deviations.
    assert frechet_distance(one, other) == pytest.approx(9 + 4 + 1 + 0 + 2.5**2)
    # One ellipse and the same turned.
    a, b, angle = 4.0, 0.25, 0.7
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    root = np.diag(np.sqrt([a, b]))
    product = root @ root @ turn @ root @ root @ turn.T
    # Of two by two: the trace of a square root is sqrt(trace + 2 sqrt(determinant)).
    shared = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
    flat, turned = Gaussian(np.zeros(2), root), Gaussian(np.zeros(2), root @ turn.T)
    assert frechet_distance(flat, turned) == pytest.approx(2 * (a + b) - 2 * shared)


def test_fewer_recordings_than_dimensions() -> None:
    """Moved into a space of more dimensions, where covariances are singular, sets are as far apart as before."""
    one, other = drawn(1, 40, 6), drawn(2, 30, 6)
    wide = np.linalg.qr(np.random.default_rng(3).normal(size=(100, 6)))[0].T
    assert distance(one @ wide, other @ wide) == pytest.approx(distance(one, other), rel=1e-9)
    few = np.random.default_rng(4).normal(size=(5, 100))
    assert fit_gaussian(few).root.shape == (5, 100)
    # Sets in planes of their own share no direction: nothing is taken off the variances.
    apart = np.zeros((5, 100))
    apart[:, :50], few = few[:, :50], np.concatenate([np.zeros((5, 50)), few[:, 50:]], 1)
    variances = few.var(0, ddof=1).sum() + apart.var(0, ddof=1).sum()
    assert distance(few, apart) == pytest.approx(np.sum((few.mean(0) - apart.mean(0)) ** 2) + variances)


def test_laws() -> None:
    one, other = drawn(5, 60, 8), drawn(6, 80, 8)
    assert distance(one, one[::-1]) == pytest.approx(0, abs=1e-9)
    assert 0 < distance(one, other) == pytest.approx(distance(other, one))
    assert distance(3 * one, 3 * other) == pytest.approx(9 * distance(one, other))
    assert distance(one, one + np.arange(8)) == pytest.approx(np.sum(np.arange(8.0) ** 2))
    with pytest.raises(ValueError, match="two recordings or more, not 1"):
        fit_gaussian(one[:1])
