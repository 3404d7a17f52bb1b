"""Can converted speech be told from the target's own? The equal error rate of van Niekerk et al. 2022, section 4.

Positive trials are pairs of genuine recordings of one speaker, negative ones a converted recording and a genuine one of
the speaker that it is meant to be. 50 % is best: the scores of both kinds are alike. A low rate says that a threshold
tells what is converted. (Verification, :mod:`speech.metrics.speaker`, asks another question: who is it?)
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

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


def genuine_eer_interval(pairs: Pairs, resamples: int = 1000, seed: int = 0, level: float = 0.95) -> Interval:
    """The rate in percent, with the interval from resampling converted and genuine recordings, each as wholes.

    A pair counts as often as both of its recordings are drawn. NaN without pairs of both kinds.
    """
    value = equal_error_rate(pairs.scores, pairs.genuine)
    if not np.isfinite(value):
        return Interval(value, float("nan"), float("nan"))
    recordings = 1 + int(max(pairs.other.max(), pairs.one[pairs.genuine].max()))
    converted = 1 + int(pairs.one[~pairs.genuine].max())
    draws = zip(
        (row for chunk in resample_weights(recordings, resamples, seed) for row in chunk),
        (row for chunk in resample_weights(converted, resamples, seed + 1) for row in chunk),
        strict=True,
    )
    samples = []
    for own, said in draws:
        # Both are indexed by all pairs; where an index is of the other kind, what it finds is not used.
        first = np.where(pairs.genuine, own.take(pairs.one, mode="clip"), said.take(pairs.one, mode="clip"))
        samples.append(equal_error_rate(pairs.scores, pairs.genuine, first * own[pairs.other]))
    return percentile_interval(value, np.array(samples), level)
