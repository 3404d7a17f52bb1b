"""Trials of genuineness: can conversions be told from recordings of the voice (van Niekerk et al. 2022, section 3.2)?

Trials are pairs: a conversion with a recording of the voice it is in, and two recordings of one voice. At 50 % equal
error rate nothing tells the one kind from the other, which is best; below it a conversion is less like the voice than
the voice is like itself. G: groups of joined conversions, R: (joined) recordings of the voices.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from speech.metrics.bootstrap import Interval, percentile_interval, resample_weights
from speech.metrics.speaker_metrics import cosine_scores, equal_error_rate

CONVERTED, GENUINE = "converted", "genuine"


@dataclass(frozen=True)
class GenuineTrials:
    """Pairs and their scores.

    Attributes:
        groups: names of the converted groups ``(G,)``.
        recordings: names of the genuine recordings ``(R,)``.
        pairs: ``(T, 2)`` int64; of a conversion: its group and a recording; of a genuine trial: two recordings.
        genuine: ``(T,)`` bool, which pairs are of two recordings.
        scores: ``(T,)`` float64, higher means more alike.
    """

    groups: tuple[str, ...]
    recordings: tuple[str, ...]
    pairs: np.ndarray
    genuine: np.ndarray
    scores: np.ndarray

    def rows(self) -> Iterator[tuple[str, str, str, float]]:
        """Yield kind, names of the two and score of every trial."""
        for (one, other), genuine, score in zip(self.pairs.tolist(), self.genuine, self.scores.tolist(), strict=True):
            first = self.recordings[one] if genuine else self.groups[one]
            yield GENUINE if genuine else CONVERTED, first, self.recordings[other], score

    def rate(self, groups: np.ndarray | None = None, recordings: np.ndarray | None = None) -> float:
        """Return the equal error rate in percent; NaN without trials of both kinds.

        Args:
            groups: ``(G,)`` how often each group counts; 1 when None.
            recordings: ``(R,)`` likewise.
        """
        groups = np.ones(len(self.groups)) if groups is None else groups
        recordings = np.ones(len(self.recordings)) if recordings is None else recordings
        one, other = self.pairs.T
        weights = np.empty(len(self.pairs))
        weights[self.genuine] = recordings[one[self.genuine]]
        weights[~self.genuine] = groups[one[~self.genuine]]
        return equal_error_rate(self.scores, self.genuine, weights * recordings[other])


def genuine_trials(
    groups: Mapping[str, np.ndarray],
    intended: Sequence[str],
    recordings: Mapping[str, np.ndarray],
    owners: Sequence[str],
) -> GenuineTrials:
    """Score all pairs of every converted group with recordings of its voice, and of recordings of one voice.

    Args:
        groups: vectors ``(D,)`` by name.
        intended: the voice that each group is in.
        recordings: vectors ``(D,)`` by name.
        owners: whose each recording is.
    """
    voices = np.array(owners)
    made, own = (np.stack(list(vectors.values())) for vectors in (groups, recordings))
    alike = voices[:, None] == voices[None]
    blocks = {
        False: (cosine_scores(made, own), np.array(intended)[:, None] == voices[None]),
        True: (cosine_scores(own, own), np.triu(alike, 1)),
    }
    pairs = {genuine: np.argwhere(paired) for genuine, (_, paired) in blocks.items()}
    return GenuineTrials(
        tuple(groups),
        tuple(recordings),
        np.concatenate([pairs[False], pairs[True]]),
        np.repeat([False, True], [len(pairs[False]), len(pairs[True])]),
        np.concatenate([scores[paired] for scores, paired in blocks.values()]),
    )


def trials_from(rows: Sequence[Mapping[str, Any]]) -> GenuineTrials:
    """Restore trials from rows with ``trial``, ``group``, ``claimed`` and ``score``; other kinds are left out."""
    rows = [row for row in rows if row["trial"] in (CONVERTED, GENUINE)]
    groups = tuple(dict.fromkeys(row["group"] for row in rows if row["trial"] == CONVERTED))
    recordings = tuple(dict.fromkeys(row["claimed"] for row in rows))
    recordings = tuple(dict.fromkeys([*recordings, *(row["group"] for row in rows if row["trial"] == GENUINE)]))
    place = {name: number for number, name in enumerate(recordings)}
    first = {CONVERTED: {name: number for number, name in enumerate(groups)}, GENUINE: place}
    pairs = [(first[row["trial"]][row["group"]], place[row["claimed"]]) for row in rows]
    return GenuineTrials(
        groups,
        recordings,
        np.array(pairs, np.int64).reshape(-1, 2),
        np.array([row["trial"] == GENUINE for row in rows], bool),
        np.array([row["score"] for row in rows], np.float64),
    )


def genuine_eer(trials: GenuineTrials, resamples: int = 1000, seed: int = 0, level: float = 0.95) -> Interval:
    """Return the equal error rate in percent, with the interval from resampling both groups and recordings."""
    values = [trials.rate(*weights) for weights in _draws(trials, resamples, seed)]
    return percentile_interval(trials.rate(), np.asarray(values), level)


def genuine_eer_difference(
    first: GenuineTrials, second: GenuineTrials, resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> Interval | None:
    """Return first minus second, in points, by the same draws of groups and recordings; None where those differ."""
    if (first.groups, first.recordings) != (second.groups, second.recordings) or not first.groups:
        return None
    values = [first.rate(*weights) - second.rate(*weights) for weights in _draws(first, resamples, seed)]
    return percentile_interval(first.rate() - second.rate(), np.asarray(values), level)


def _draws(trials: GenuineTrials, resamples: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    counts = (len(trials.groups), len(trials.recordings))
    groups, recordings = (
        itertools.chain.from_iterable(resample_weights(count, resamples, seed + number))
        for number, count in enumerate(counts)
    )
    yield from zip(groups, recordings, strict=True)
