"""Speaker similarity: trials of joined utterances against enrolled speakers, equal error rate, nearest speaker.

One short word says little about who speaks, so utterances are joined to a stated length before they are embedded.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from speech.metrics.bootstrap import Interval, percentile_interval, resample_weights


def join_groups(seconds: Sequence[float], at_least: float, seed: int, max_groups: int | None = None) -> list[list[int]]:
    """Divide one speaker's utterances into groups of at least ``at_least`` seconds.

    The order is drawn once by ``seed`` (recordings in id order share their words), then groups are filled in turn; what
    is left over joins the last group. A speaker with less speech than that gets one shorter group.

    Args:
        seconds: duration of each utterance, in id order.
        at_least: seconds that make a group full.
        seed: of the order.
        max_groups: stop after so many groups; None for all.

    Returns:
        Lists of indices into ``seconds``; every utterance is in exactly one when ``max_groups`` is None.
    """
    groups: list[list[int]] = []
    current: list[int] = []
    filled = 0.0
    for index in np.random.default_rng(seed).permutation(len(seconds)).tolist():
        current.append(index)
        filled += seconds[index]
        if filled >= at_least:
            groups.append(current)
            current, filled = [], 0.0
            if len(groups) == max_groups:
                return groups
    if current and groups:
        groups[-1].extend(current)
    elif current:
        groups.append(current)
    return groups


def cosine_scores(groups: np.ndarray, enrolled: np.ndarray) -> np.ndarray:
    """Score every group ``(G, D)`` with every enrolled speaker ``(S, D)`` by the cosine: ``(G, S)`` float64."""
    return _unit(groups) @ _unit(enrolled).T


def nearest_speaker_hits(scores: np.ndarray, intended: np.ndarray) -> np.ndarray:
    """Score 1 where the best of ``scores`` ``(G, S)`` is the ``intended`` ``(G,)``, else 0: ``(G,)`` float64."""
    return (np.argmax(scores, axis=1) == intended).astype(np.float64)


def equal_error_rate(scores: np.ndarray, is_target: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return the equal error rate in percent: where false acceptances and false rejections cross on the ROC.

    Args:
        scores: ``(N,)``, higher means more alike; trials at a threshold are accepted.
        is_target: ``(N,)`` bool, True where the trial is of the claimed speaker.
        weights: ``(N,)`` how often each trial counts; 1 when None.

    Returns:
        The rate, linear between ROC points (equal scores are one point); NaN without targets or without impostors.
    """
    scores, is_target = np.asarray(scores, np.float64), np.asarray(is_target, bool)
    mass = np.ones(len(scores)) if weights is None else np.asarray(weights, np.float64)
    order = np.argsort(-scores, kind="stable")
    targets = np.cumsum(np.where(is_target[order], mass[order], 0.0))
    impostors = np.cumsum(np.where(is_target[order], 0.0, mass[order]))
    if not len(scores) or targets[-1] <= 0 or impostors[-1] <= 0:
        return float("nan")
    last_of_score = np.append(np.diff(scores[order]) != 0, True)
    accepted_wrongly = np.concatenate(([0.0], impostors[last_of_score] / impostors[-1]))
    rejected_wrongly = np.concatenate(([1.0], 1.0 - targets[last_of_score] / targets[-1]))
    return 100.0 * _crossing(accepted_wrongly, rejected_wrongly)


def eer_interval(
    scores: np.ndarray, intended: np.ndarray, resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> Interval:
    """Return the equal error rate in percent of all groups × speakers, with the interval from resampling groups.

    Args:
        scores: ``(G, S)`` of every group against every enrolled speaker.
        intended: ``(G,)`` index of the speaker each group is meant to be.
        resamples: how many sets of groups are drawn.
        seed: of the draws.
        level: share of the resampled rates inside the interval.
    """
    groups, speakers = scores.shape
    is_target = np.arange(speakers)[None, :] == np.asarray(intended)[:, None]
    flat, truth = scores.ravel(), is_target.ravel()
    values = [
        equal_error_rate(flat, truth, np.repeat(row, speakers))
        for weights in resample_weights(groups, resamples, seed)
        for row in weights
    ]
    return percentile_interval(equal_error_rate(flat, truth), np.asarray(values), level)


def _crossing(rising: np.ndarray, falling: np.ndarray) -> float:
    difference = rising - falling
    after = int(np.argmax(difference >= 0))
    if difference[after] == 0 or after == 0:
        return float(rising[after])
    share = -difference[after - 1] / (difference[after] - difference[after - 1])
    return float(rising[after - 1] + share * (rising[after] - rising[after - 1]))


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = np.asarray(vectors, np.float64)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
