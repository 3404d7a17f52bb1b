"""Measures of units: how they follow phones, how alike speakers' renditions are, how much they tell of the speaker.

Phone measures as Hsu et al. 2021 (HuBERT), section IV-C, over frames of 20 ms: y is the phone that sounds at the
frame's centre, z its unit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from speech.rates import SAMPLE_RATE, UNIT_HOP
from speech.units import run_lengths

SILENCE = "sil"


@dataclass(frozen=True)
class PhonePurity:
    """Phones against units, each in 0..1.

    Attributes:
        phone_purity: share of frames whose phone is its unit's most frequent one.
        cluster_purity: share of frames whose unit is its phone's most frequent one.
        pnmi: phone-normalised mutual information I(y; z) / H(y): the part of what there is to know about the phone
            that the unit tells.
    """

    phone_purity: float
    cluster_purity: float
    pnmi: float


def phone_purity(counts: np.ndarray) -> PhonePurity:
    """Compute purities and PNMI of joint counts.

    Args:
        counts: ``(phones, K)`` frames of each phone under each unit.

    Raises:
        ValueError: there is no frame.
    """
    joint = np.asarray(counts, dtype=np.float64)
    if not joint.sum():
        raise ValueError("no frame has both a phone and a unit")
    joint = joint / joint.sum()
    phones, units = joint.sum(axis=1), joint.sum(axis=0)
    entropy = _entropy(phones)
    information = entropy + _entropy(units) - _entropy(joint.ravel())
    pnmi = information / entropy if entropy > 0 else 0.0
    return PhonePurity(float(joint.max(axis=0).sum()), float(joint.max(axis=1).sum()), float(pnmi))


def _entropy(shares: np.ndarray) -> float:
    used = shares[shares > 0]
    return float(-(used * np.log(used)).sum())


def frame_phones(phones: Sequence[Mapping[str, Any]], num_samples: int) -> list[str]:
    """Return the phone at the centre of each of ``num_samples // 320`` frames; ``sil`` where none is.

    Args:
        phones: ``phone``, ``start`` and ``end`` (seconds), in order of time.
        num_samples: of the recording at 16 kHz, without padding.
    """
    centres = (np.arange(num_samples // UNIT_HOP) + 0.5) * (UNIT_HOP / SAMPLE_RATE)
    starts = np.array([phone["start"] for phone in phones])
    index = np.searchsorted(starts, centres, side="right") - 1
    return [
        phones[i]["phone"] if i >= 0 and centre < phones[i]["end"] else SILENCE
        for i, centre in zip(index, centres, strict=True)
    ]


class UnitTally:
    """A codebook's effect on a corpus, counted utterance by utterance.

    Args:
        k: size of the codebook.

    Attributes:
        phones: those met so far.
        held_out: utterances of the validation and test splits.
        enrolled: by speaker, ``(K,)`` units of the training split.
    """

    def __init__(self, k: int) -> None:
        self.k = k
        self.phones: list[str] = []
        self.held_out = 0
        self.enrolled: dict[str, np.ndarray] = {}
        self._rows: list[np.ndarray] = []
        self._renditions: dict[str, list[tuple[str, np.ndarray]]] = {}
        self._probes: list[tuple[str, np.ndarray]] = []

    @property
    def counts(self) -> np.ndarray:
        """Held-out frames of each phone under each unit: ``(phones, K)`` int64."""
        return np.array(self._rows, dtype=np.int64).reshape(-1, self.k)

    def add(self, utterance: Mapping[str, Any], units: np.ndarray) -> None:
        """Count one utterance.

        Args:
            utterance: ``speaker``, ``split``, ``text`` (or None), ``num_speech`` (samples at 16 kHz before padding)
                and ``phones`` (or None), as a row of an audio shard.
            units: its ``(N,)`` units; those of the padding are left out.
        """
        units = units[: utterance["num_speech"] // UNIT_HOP]
        if utterance["split"] == "train":
            usage = self.enrolled.setdefault(utterance["speaker"], np.zeros(self.k, np.int64))
            usage += np.bincount(units, minlength=self.k)
            return
        self.held_out += 1
        self._probes.append((utterance["speaker"], units))
        if utterance["text"]:
            self._renditions.setdefault(utterance["text"], []).append((utterance["speaker"], run_lengths(units)[0]))
        if utterance["phones"]:
            for phone, unit in zip(frame_phones(utterance["phones"], utterance["num_speech"]), units, strict=True):
                if phone not in self.phones:
                    self.phones.append(phone)
                    self._rows.append(np.zeros(self.k, np.int64))
                self._rows[self.phones.index(phone)][unit] += 1

    def summary(self, rng: np.random.Generator, pairs: int) -> dict[str, float]:
        """Compute every measure that the utterances allow; speaker accuracy in percent.

        Args:
            rng: draws the pairs of renditions where there are more.
            pairs: renditions of a text that are compared, at most.
        """
        found: dict[str, float] = {}
        if self._rows:
            found |= asdict(phone_purity(self.counts))
        distances = [distance for text in sorted(self._renditions) for distance in self._distances(text, rng, pairs)]
        if distances:
            found["unit_distance"] = float(np.mean(distances))
        known = [(speaker, units) for speaker, units in self._probes if speaker in self.enrolled and len(units)]
        if known and len(self.enrolled) > 1:
            enrolled = {speaker: usage / usage.sum() for speaker, usage in self.enrolled.items()}
            right = [nearest_speaker(histogram(units, self.k), enrolled) == speaker for speaker, units in known]
            found["speaker_accuracy"] = 100 * float(np.mean(right))
        return found

    def _distances(self, text: str, rng: np.random.Generator, pairs: int) -> list[float]:
        renditions = self._renditions[text]
        couples: Iterable[tuple[int, ...]] = combinations(range(len(renditions)), 2)
        if len(renditions) * (len(renditions) - 1) // 2 > pairs:
            couples = map(tuple, rng.integers(len(renditions), size=(pairs, 2)).tolist())
        compared = [(renditions[i][1], renditions[j][1]) for i, j in couples if renditions[i][0] != renditions[j][0]]
        return [edit_distance(a, b) / max(len(a), len(b), 1) for a, b in compared]


def edit_distance(first: np.ndarray, second: np.ndarray) -> int:
    """Count the insertions, deletions and substitutions that turn one sequence into the other (Levenshtein)."""
    second = np.asarray(second)
    columns = np.arange(len(second) + 1)
    row = columns.copy()
    for number, symbol in enumerate(first, start=1):
        best = np.empty_like(row)
        best[0] = number
        best[1:] = np.minimum(row[1:] + 1, row[:-1] + (second != symbol))
        # Insertions run along the row: what is cheapest after any number of them is a running minimum.
        row = np.minimum.accumulate(best - columns) + columns
    return int(row[-1])


def histogram(units: np.ndarray, k: int) -> np.ndarray:
    """Compute the shares of each of K units in a sequence ``(N,)``: ``(K,)`` float64 of sum 1."""
    return np.bincount(units, minlength=k) / max(len(units), 1)


def nearest_speaker(probe: np.ndarray, enrolled: Mapping[str, np.ndarray]) -> str:
    """Return the speaker whose histogram ``(K,)`` is nearest to ``probe`` by Hellinger's distance."""
    return max(enrolled, key=lambda name: float(np.sqrt(probe * enrolled[name]).sum()))
