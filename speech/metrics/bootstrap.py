"""Percentile bootstrap intervals (Efron 1979) of rates over utterances, and of paired differences between systems.

Utterances are resampled as wholes, with replacement, because frames and words within one are not independent. All
functions are deterministic in their ``seed``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

# Bounds the memory of the resampling weights: 64 resamples of a million utterances are 256 MB of int32.
_CHUNK_VALUES = 1 << 22
# Of whole sets, at most: one costs a singular value decomposition, 1.4 s at 1024 features of 2048 utterances.
SET_RESAMPLES = 200


@dataclass(frozen=True)
class Interval:
    """A statistic of the set as it is, with the bounds of its bootstrap interval."""

    value: float
    low: float
    high: float


def ratio_interval(
    numerators: np.ndarray, denominators: np.ndarray, resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> Interval:
    """Return the interval of ``sum(numerators) / sum(denominators)``, both ``(N,)`` with one entry per utterance.

    A mean is the ratio with denominators of 1. All NaN when the denominators sum to 0.
    """
    top, bottom = np.asarray(numerators, np.float64), np.asarray(denominators, np.float64)
    samples = [_divide(weights @ top, weights @ bottom) for weights in resample_weights(len(top), resamples, seed)]
    return _interval(float(_divide(top.sum(), bottom.sum())), samples, level)


def paired_difference(
    first: tuple[np.ndarray, np.ndarray],
    second: tuple[np.ndarray, np.ndarray],
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Return the interval of ``ratio(first) - ratio(second)`` when both are resampled by the same draws of utterances.

    Args:
        first: numerators and denominators, each ``(N,)``.
        second: likewise; entry *i* of all four is of utterance *i*.
        resamples: how many sets of utterances are drawn.
        seed: of the draws.
        level: share of the resampled differences inside the interval.

    Raises:
        ValueError: the lengths differ.
    """
    arrays = [np.asarray(values, np.float64) for values in (*first, *second)]
    if len({len(values) for values in arrays}) != 1:
        raise ValueError("paired systems need the same utterances")
    a, b, c, d = arrays
    samples = [
        _divide(weights @ a, weights @ b) - _divide(weights @ c, weights @ d)
        for weights in resample_weights(len(a), resamples, seed)
    ]
    return _interval(float(_divide(a.sum(), b.sum()) - _divide(c.sum(), d.sum())), samples, level)


def set_interval(
    statistic: Callable[[np.ndarray], float], count: int, resamples: int, seed: int = 0, level: float = 0.95
) -> Interval:
    """Return the interval of what only a whole set has, such as a distance between distributions.

    A draw with replacement repeats utterances, and a set of fewer different ones lies further from any other: the
    draws' values are moved by as much as their mean is off, else all of them may lie beyond the value itself.

    Args:
        statistic: of the utterances at these indices ``(N,)``, some more than once.
        count: of utterances, ``N``.
        resamples: how many sets are drawn.
        seed: of the draws.
        level: share of the resampled values inside the interval.
    """
    rng = np.random.default_rng(seed)
    value = statistic(np.arange(count))
    samples = np.array([statistic(rng.integers(0, count, count)) for _ in range(resamples)])
    return percentile_interval(value, samples - (np.nanmean(samples) - value), level)


def resample_weights(count: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Draw how often each of ``count`` utterances is taken: chunks of ``(up to resamples, count)`` float64."""
    rng = np.random.default_rng(seed)
    chunk = max(1, _CHUNK_VALUES // max(1, count))
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        if not count:
            yield np.zeros((rows, 0))
            continue
        draws = rng.integers(0, count, (rows, count)) + count * np.arange(rows)[:, None]
        yield np.bincount(draws.ravel(), minlength=rows * count).reshape(rows, count).astype(np.float64)


def percentile_interval(value: float, samples: np.ndarray, level: float = 0.95) -> Interval:
    """Return the central ``level`` of the resampled values, without those where the statistic is undefined (NaN)."""
    finite = samples[np.isfinite(samples)]
    if not len(finite) or not np.isfinite(value):
        return Interval(value, float("nan"), float("nan"))
    tail = 50.0 * (1.0 - level)
    low, high = np.percentile(finite, [tail, 100.0 - tail])
    return Interval(value, float(low), float(high))


def _interval(value: float, samples: list[np.ndarray], level: float) -> Interval:
    return percentile_interval(value, np.concatenate(samples) if samples else np.zeros(0), level)


def _divide(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.asarray(bottom) > 0, np.asarray(top) / bottom, np.nan)
