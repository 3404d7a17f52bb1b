"""Can converted speech be told from the target's own? The equal error rate of van Niekerk et al. 2022, section 4.

Positive trials are pairs of genuine recordings of one speaker, negative ones a converted recording and a genuine one of
the speaker that it is meant to be. 50 % is best: the scores of both kinds are alike. A low rate says that a threshold
tells what is converted. (Verification, :mod:`speech.metrics.speaker`, asks another question: who is it?)
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from speech.metrics.bootstrap import Interval, percentile_interval, resample_weights
from speech.metrics.speaker import cosine_scores, equal_error_rate


@dataclass(frozen=True)
class Pairs:
    """Scored pairs of recordings.

    Attributes:
        genuine: ``(P,)`` bool.
        one: ``(P,)`` index of a genuine recording, or of a converted one.
        other: ``(P,)`` index of the genuine recording that it meets.
        scores: ``(P,)`` cosine similarity.
    """

    genuine: np.ndarray
    one: np.ndarray
    other: np.ndarray
    scores: np.ndarray


def genuine_pairs(
    converted: np.ndarray, intended: Sequence[str], genuine: np.ndarray, speakers: Sequence[str], seed: int
) -> Pairs:
    """Every converted recording against every genuine one of its speaker; as many genuine pairs, drawn by ``seed``.

    Args:
        converted: ``(G, D)`` embeddings.
        intended: whose voice each is meant to be.
        genuine: ``(E, D)`` embeddings.
        speakers: whose voice each is.
        seed: of the draw, where a speaker has more genuine pairs than converted ones; where fewer, all are taken.
    """
    rng, found = np.random.default_rng(seed), []
    for speaker in sorted(set(intended)):
        own = [i for i, name in enumerate(speakers) if name == speaker]
        said = [(False, g, e) for g, name in enumerate(intended) if name == speaker for e in own]
        alike = [(True, i, j) for i, j in itertools.combinations(own, 2)]
        kept = rng.permutation(len(alike))[: len(said)]
        found += [*said, *(alike[i] for i in sorted(kept.tolist()))]
    is_genuine, one, other = np.array(found, np.int64).reshape(-1, 3).T
    among, across = cosine_scores(genuine, genuine), cosine_scores(converted, genuine)
    scores = [(among if kind else across)[i, j] for kind, i, j in found]
    return Pairs(is_genuine.astype(bool), one, other, np.array(scores, np.float64))


def pairs_from(rows: Sequence[Mapping[str, Any]]) -> Pairs:
    """Pairs again from what was kept of them: rows with ``kind``, ``group``, ``claimed`` and ``score``.

    Recordings are numbered in the order of their names, so that two systems' pairs of the same recordings are alike.
    """
    rows = [row for row in rows if row["kind"] in ("converted", "genuine")]
    is_genuine = np.array([row["kind"] == "genuine" for row in rows], bool)
    own = {row["claimed"] for row in rows} | {row["group"] for row, kind in zip(rows, is_genuine, strict=True) if kind}
    said = {row["group"] for row, kind in zip(rows, is_genuine, strict=True) if not kind}
    numbers = {True: {n: i for i, n in enumerate(sorted(own))}, False: {n: i for i, n in enumerate(sorted(said))}}
    one = [numbers[bool(kind)][row["group"]] for row, kind in zip(rows, is_genuine, strict=True)]
    other = [numbers[True][row["claimed"]] for row in rows]
    scores = [row["score"] for row in rows]
    return Pairs(is_genuine, np.array(one, np.int64), np.array(other, np.int64), np.array(scores, np.float64))


def genuine_eer_interval(pairs: Pairs, resamples: int = 1000, seed: int = 0, level: float = 0.95) -> Interval:
    """The rate in percent, with the interval from resampling converted and genuine recordings, each as wholes.

    A pair counts as often as both of its recordings are drawn. NaN without pairs of both kinds.
    """
    value = equal_error_rate(pairs.scores, pairs.genuine)
    if not np.isfinite(value):
        return Interval(value, float("nan"), float("nan"))
    samples = [equal_error_rate(pairs.scores, pairs.genuine, weights) for weights in _draws(pairs, resamples, seed)]
    return percentile_interval(value, np.array(samples), level)


def genuine_eer_difference(
    first: Pairs, second: Pairs, resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> Interval | None:
    """First minus second in points, both resampled by the same draws; None where their pairs are not the same."""
    if len(first.scores) != len(second.scores) or not len(first.scores):
        return None
    if not all(np.array_equal(getattr(first, name), getattr(second, name)) for name in ("genuine", "one", "other")):
        return None

    def difference(weights: np.ndarray | None = None) -> float:
        rates = [equal_error_rate(pairs.scores, first.genuine, weights) for pairs in (first, second)]
        return rates[0] - rates[1]

    samples = [difference(weights) for weights in _draws(first, resamples, seed)]
    return percentile_interval(difference(), np.array(samples), level)


def _draws(pairs: Pairs, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each pair counts, ``(P,)``, in each resample."""
    recordings = 1 + int(max([*pairs.other, *pairs.one[pairs.genuine]]))
    converted = 1 + int(max(pairs.one[~pairs.genuine], default=0))
    draws = zip(
        (row for chunk in resample_weights(recordings, resamples, seed) for row in chunk),
        (row for chunk in resample_weights(converted, resamples, seed + 1) for row in chunk),
        strict=True,
    )
    for own, said in draws:
        # Both are indexed by all pairs; where an index is of the other kind, what it finds is not used.
        first = np.where(pairs.genuine, own.take(pairs.one, mode="clip"), said.take(pairs.one, mode="clip"))
        yield first * own[pairs.other]
