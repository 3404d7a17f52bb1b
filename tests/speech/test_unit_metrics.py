"""Unit measures against scikit-learn, edit distances by their definition, and phones placed by hand."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from speech.metrics.unit_metrics import (
    UnitTally,
    edit_distance,
    frame_phones,
    histogram,
    nearest_speaker,
    phone_purity,
)


@pytest.mark.parametrize("seed", range(4))
def test_pnmi_and_purities_are_sklearns(seed: int) -> None:
    from scipy.stats import entropy
    from sklearn.metrics import mutual_info_score
    from sklearn.metrics.cluster import contingency_matrix

    rng = np.random.default_rng(seed)
    phones = rng.integers(0, 7, 500)
    units = np.where(rng.random(500) < 0.3 * seed, phones + 3, rng.integers(0, 20, 500))
    counts = np.zeros((7, 25), np.int64)
    np.add.at(counts, (phones, units), 1)
    found = phone_purity(counts)
    table = contingency_matrix(phones, units)
    assert found.pnmi == pytest.approx(mutual_info_score(phones, units) / entropy(np.bincount(phones) / 500))
    assert found.phone_purity == pytest.approx(table.max(0).sum() / 500)
    assert found.cluster_purity == pytest.approx(table.max(1).sum() / 500)


def test_units_that_are_phones_tell_everything_and_one_unit_nothing() -> None:
    assert phone_purity(np.diag([3, 5, 2])).pnmi == pytest.approx(1)
    assert phone_purity(np.array([[3], [5], [2]])).pnmi == pytest.approx(0)
    with pytest.raises(ValueError, match="no frame"):
        phone_purity(np.zeros((3, 4)))


@pytest.mark.parametrize("seed", range(6))
def test_edit_distance_by_its_recursive_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = (rng.integers(0, 3, rng.integers(0, 12)) for _ in range(2))

    @cache
    def distance(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        substituted = distance(i - 1, j - 1) + (one[i - 1] != other[j - 1])
        return int(min(substituted, distance(i - 1, j) + 1, distance(i, j - 1) + 1))

    assert edit_distance(one, other) == distance(len(one), len(other))
    assert edit_distance(one, other) == edit_distance(other, one)


def test_the_phone_at_a_frames_centre() -> None:
    phones = [{"phone": "a", "start": 0.02, "end": 0.05}, {"phone": "b", "start": 0.05, "end": 0.071}]
    # Centres at 10, 30, 50, 70, 90 ms; the last 100 samples make no frame.
    assert frame_phones(phones, 5 * 320 + 100) == ["sil", "a", "b", "b", "sil"]
    assert frame_phones([], 640) == ["sil", "sil"]


def test_histograms_find_their_speaker() -> None:
    rng = np.random.default_rng(0)
    shares = {name: rng.dirichlet(np.full(30, 0.3)) for name in "abc"}
    for name, share in shares.items():
        assert nearest_speaker(histogram(rng.choice(30, 200, p=share), 30), shares) == name
    assert histogram(np.array([1, 1, 0, 2]), 4) == pytest.approx([0.25, 0.5, 0.25, 0])


def utterance(speaker: str, split: str, text: str | None = "yes", **fields: object) -> dict[str, object]:
    phones = [{"phone": "a", "start": 0.0, "end": 0.1}, {"phone": "b", "start": 0.1, "end": 0.2}]
    return {"speaker": speaker, "split": split, "text": text, "num_speech": 3200, "phones": phones, **fields}


def test_a_tally_counts_held_out_speech_and_enrols_the_rest() -> None:
    tally = UnitTally(4)
    tally.add(utterance("x", "train"), np.full(12, 0))
    tally.add(utterance("y", "train"), np.full(12, 1))
    tally.add(utterance("x", "test"), np.array([0, 0, 0, 0, 0, 2, 2, 2, 2, 2, 3, 3]))
    tally.add(utterance("y", "valid"), np.array([1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3]))
    assert tally.held_out == 2
    assert tally.counts.tolist() == [[5, 5, 0, 0], [0, 0, 10, 0]]  # the two frames of padding are left out
    found = tally.summary(np.random.default_rng(0), 100)
    assert found["pnmi"] == pytest.approx(1)
    assert found["unit_distance"] == 0.5  # 0 2 against 1 2
    assert found["speaker_accuracy"] == 100


def test_a_tally_says_what_it_can() -> None:
    tally = UnitTally(4)
    tally.add(utterance("x", "test", None, phones=None), np.zeros(10, int))
    assert tally.summary(np.random.default_rng(0), 100) == {}


def test_pairs_are_drawn_where_there_are_too_many() -> None:
    tally = UnitTally(4)
    for number in range(40):
        tally.add(utterance("xy"[number % 2], "test"), np.full(10, number % 2))
    assert tally.summary(np.random.default_rng(0), 30)["unit_distance"] == 1
