"""Paired differences between experiments, from the counts behind their utterances."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from speech.metrics.bootstrap import Interval, paired_difference
from speech.metrics.genuine import GenuineTrials, genuine_eer_difference, trials_from
from speech.storage.shards import read_shard

# What is summed over an utterance to make a rate, in percent: numerators, denominator.
RATES: dict[str, tuple[tuple[str, ...], str]] = {
    "wer": (("word_errors",), "words"),
    "cer": (("char_errors",), "chars"),
    "per": (("phoneme_errors",), "phones"),
    "vde": (("voicing_errors",), "frames"),
    "ffe": (("voicing_errors", "gross_errors"), "frames"),
    "gpe": (("gross_errors",), "voiced_both"),
}

# No sum over utterances, but differences of it are paired too.
GENUINE_EER = "genuine_eer"

# Numerator and denominator by rate and source utterance.
Sums = dict[str, dict[str, tuple[float, float]]]


def read_sums(path: Path) -> Sums:
    """Return sums of every rate over the source utterances of ``utterances.parquet``; a conversion's voices add up."""
    sums: dict[str, dict[str, list[float]]] = {rate: defaultdict(lambda: [0.0, 0.0]) for rate in RATES}
    for row in read_shard(path):
        for rate, (numerators, denominator) in RATES.items():
            if row.get(denominator):
                found = sums[rate][row["source_id"]]
                found[0] += sum(row[name] for name in numerators)
                found[1] += row[denominator]
    return {rate: {id_: (top, bottom) for id_, (top, bottom) in found.items()} for rate, found in sums.items()}


def read_trials(path: Path) -> GenuineTrials:
    """Return the trials of ``trials.parquet`` against genuine recordings."""
    return trials_from(list(read_shard(path)))


class Paired:
    """Differences of a rate in points, over the source utterances that both experiments have.

    Of `GENUINE_EER` over the joined utterances that both have, where they have the same, from ``trials``.
    """

    def __init__(
        self,
        sums: Mapping[str, Sums],
        resamples: int,
        seed: int,
        trials: Mapping[str, GenuineTrials] | None = None,
    ) -> None:
        self.sums, self.resamples, self.seed, self.trials = sums, resamples, seed, trials or {}

    def __call__(self, first: str, second: str, rate: str = "wer") -> Interval | None:
        """Return ``first`` minus ``second``; None where one was not run or no utterance has counts in both."""
        if first not in self.sums or second not in self.sums:
            return None
        if rate == GENUINE_EER:
            return self._genuine(first, second)
        one, other = self.sums[first][rate], self.sums[second][rate]
        common = sorted(one.keys() & other.keys())
        if not common:
            return None
        pairs = [np.array([found[id_] for id_ in common]).T for found in (one, other)]
        found = paired_difference((pairs[0][0], pairs[0][1]), (pairs[1][0], pairs[1][1]), self.resamples, self.seed)
        return Interval(100 * found.value, 100 * found.low, 100 * found.high)

    def _genuine(self, first: str, second: str) -> Interval | None:
        if first not in self.trials or second not in self.trials:
            return None
        return genuine_eer_difference(self.trials[first], self.trials[second], self.resamples, self.seed)
