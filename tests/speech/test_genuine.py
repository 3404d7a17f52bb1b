"""Conversions against genuine recordings: the two ends of the scale, scikit-learn's ROC, and the intervals."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from speech.metrics.genuine import genuine_eer, genuine_eer_difference, genuine_trials, trials_from

RNG = np.random.default_rng(0)


def vectors(count: int, mean: float, name: str) -> dict[str, np.ndarray]:
    return {f"{name}{number}": RNG.normal(size=8) + mean for number in range(count)}


def test_what_comes_from_the_voice_itself_is_not_told_apart_and_what_does_not_is() -> None:
    voice = vectors(40, 1.5, "r")
    same = genuine_trials(vectors(40, 1.5, "c"), ["v"] * 40, voice, ["v"] * 40)
    other = genuine_trials(vectors(40, -1.5, "c"), ["v"] * 40, voice, ["v"] * 40)
    assert genuine_eer(same, 20).value == pytest.approx(50, abs=6)
    assert genuine_eer(other, 20).value == 0


def test_the_rate_is_that_of_scikit_learns_roc() -> None:
    trials = genuine_trials(vectors(30, 0.6, "c"), ["v"] * 30, vectors(25, 1.0, "r"), ["v"] * 25)
    wrong, right, _ = roc_curve(trials.genuine, trials.scores, drop_intermediate=False)
    nearest = np.argmin(np.abs(wrong - (1 - right)))
    assert trials.rate() == pytest.approx(50 * (wrong[nearest] + 1 - right[nearest]), abs=1.0)


def test_every_pair_is_of_one_voice_and_no_recording_meets_itself() -> None:
    trials = genuine_trials(vectors(3, 0, "c"), ["a", "b", "b"], vectors(5, 0, "r"), ["a", "a", "b", "b", "b"])
    pairs = {(kind, one, other) for kind, one, other, _ in trials.rows()}
    genuine = {("genuine", "r0", "r1"), ("genuine", "r2", "r3"), ("genuine", "r2", "r4"), ("genuine", "r3", "r4")}
    own = {("converted", "c0", f"r{i}") for i in (0, 1)} | {
        ("converted", c, f"r{i}") for c in ("c1", "c2") for i in (2, 3, 4)
    }
    assert pairs == genuine | own and len(trials.scores) == len(pairs)


def test_weights_are_repetitions() -> None:
    made, own = vectors(6, 0.5, "c"), vectors(7, 1.0, "r")
    trials = genuine_trials(made, ["v"] * 6, own, ["v"] * 7)
    twice = {**made, "again": made["c2"]}
    expected = genuine_trials(twice, ["v"] * 7, own, ["v"] * 7).rate()
    assert trials.rate(np.array([1, 1, 2, 1, 1, 1])) == pytest.approx(expected)


def test_trials_come_back_from_their_rows() -> None:
    trials = genuine_trials(vectors(4, 0, "c"), ["v"] * 4, vectors(5, 0.5, "r"), ["v"] * 5)
    rows = [{"trial": t, "group": a, "claimed": b, "score": s} for t, a, b, s in trials.rows()]
    rows.insert(0, {"trial": "enrolled", "group": "c0", "claimed": "v", "score": 0.0})
    assert trials_from(rows).rate() == trials.rate()
    assert sorted(trials_from(rows).rows()) == sorted(trials.rows())


def test_differences_are_of_the_same_draws() -> None:
    made, own = vectors(12, 0.2, "c"), vectors(10, 1.0, "r")
    far = genuine_trials(made, ["v"] * 12, own, ["v"] * 10)
    near = genuine_trials({name: value + 0.8 for name, value in made.items()}, ["v"] * 12, own, ["v"] * 10)
    itself = genuine_eer_difference(far, far, 50)
    assert itself is not None and (itself.low, itself.value, itself.high) == (0, 0, 0)
    difference = genuine_eer_difference(near, far, 50)
    assert difference is not None and difference.value == pytest.approx(near.rate() - far.rate())
    assert difference.low <= difference.value <= difference.high
    less = genuine_trials(dict(list(made.items())[:5]), ["v"] * 5, own, ["v"] * 10)
    assert genuine_eer_difference(less, far) is None
