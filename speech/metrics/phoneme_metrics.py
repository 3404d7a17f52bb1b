"""Phoneme error rates, of utterances and of single phonemes, counted so that they can be resampled.

Phones are those of :mod:`speech.phonemes`. The rate of utterances is (substitutions + deletions + insertions) over
the text's phones; that of a phoneme (van Niekerk et al. 2022, Fig. 2) is how often it was heard as another or not at
all, over how often the text has it: an insertion is nobody's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from speech.metrics.bootstrap import Interval, ratio_interval


@dataclass(frozen=True)
class PhonemeCounts:
    """Errors of one utterance and the phones they are counted against."""

    phoneme_errors: int
    phones: int


@dataclass(frozen=True)
class PhonemeRate:
    """A phoneme in many utterances: how often the texts have it, how often wrong, and the percentage of errors."""

    phone: str
    count: int
    errors: int
    rate: Interval


def count_phoneme_errors(reference: Sequence[str], hypothesis: Sequence[str]) -> PhonemeCounts:
    """Count Levenshtein errors between phones.

    Args:
        reference: the text's phones; not empty.
        hypothesis: the recogniser's; may be empty (all deletions).

    Raises:
        ValueError: the reference is empty; a rate against it is undefined.
    """
    if not reference:
        raise ValueError("a text without phones has no error rate; leave the utterance out")
    found = _aligned(reference, hypothesis)
    return PhonemeCounts(found.substitutions + found.deletions + found.insertions, len(reference))


def errors_by_phoneme(reference: Sequence[str], hypothesis: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Count how often each phone was ``(wrong, present)``, by one best alignment."""
    wrong = np.ones(len(reference), bool)
    for chunk in _aligned(reference, hypothesis).alignments[0]:
        if chunk.type == "equal":
            wrong[chunk.ref_start_idx : chunk.ref_end_idx] = False
    counts: dict[str, tuple[int, int]] = {}
    for phone, error in zip(reference, wrong.tolist(), strict=True):
        before = counts.get(phone, (0, 0))
        counts[phone] = (before[0] + error, before[1] + 1)
    return counts


def phoneme_rates(rows: Sequence[Mapping[str, Any]], resamples: int, seed: int) -> dict[str, PhonemeRate]:
    """Return rates by phone, most frequent first, from the ``phones_said`` and ``phones_heard`` of utterances.

    Args:
        rows: of :data:`speech.metrics.summary.UTTERANCES`.
        resamples: how many sets of utterances are drawn for the intervals.
        seed: of the draws.
    """
    counts = [
        errors_by_phoneme(row["phones_said"].split(), row["phones_heard"].split()) for row in rows if row["phones"]
    ]
    rates = []
    for phone in sorted({phone for utterance in counts for phone in utterance}):
        errors, present = np.array([utterance.get(phone, (0, 0)) for utterance in counts], np.float64).T
        found = ratio_interval(errors, present, resamples, seed)
        percent = Interval(100 * found.value, 100 * found.low, 100 * found.high)
        rates.append(PhonemeRate(phone, int(present.sum()), int(errors.sum()), percent))
    return {rate.phone: rate for rate in sorted(rates, key=lambda rate: -rate.count)}


def _aligned(reference: Sequence[str], hypothesis: Sequence[str]) -> Any:
    import jiwer

    return jiwer.process_words(" ".join(reference), " ".join(hypothesis))
