from __future__ import annotations

import numpy as np
import pytest

from speech.metrics.genuine import Pairs, genuine_eer_difference, genuine_eer_interval, genuine_pairs, pairs_from
from tests.speech.test_speaker_metrics import sklearn_eer

OWN, MADE, DIM = 14, 12, 8


def voices(away: float, seed: int = 0) -> tuple[np.ndarray, list[str], np.ndarray, list[str]]:
    """Recordings of two speakers, and conversions that lie ``away`` from the speaker they are meant to be."""
    rng = np.random.default_rng(seed)
    centres = {"ann": np.eye(DIM)[0], "bob": np.eye(DIM)[1]}
    own, made = np.repeat(list(centres), OWN).tolist(), np.repeat(list(centres), MADE).tolist()
    genuine = np.stack([centres[name] for name in own]) + 0.1 * rng.normal(size=(2 * OWN, DIM))
    converted = np.stack([centres[name] for name in made]) + 0.1 * rng.normal(size=(2 * MADE, DIM))
    converted[:, 2] += away
    return converted, made, genuine, own


def test_speech_like_the_targets_is_at_half_and_other_speech_at_zero() -> None:
    alike = genuine_eer_interval(genuine_pairs(*voices(0.0), seed=0), 200)
    assert alike.value == pytest.approx(50, abs=8)
    assert alike.low < 50 < alike.high
    rates = [genuine_eer_interval(genuine_pairs(*voices(away), seed=0), 50).value for away in (0.0, 0.3, 0.6, 3.0)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == 0.0


def test_pairs_are_of_one_speaker_as_many_of_both_kinds_and_the_rate_is_sklearns() -> None:
    converted, made, genuine, own = voices(0.3)
    pairs = genuine_pairs(converted, made, genuine, own, seed=3)
    crossed = 2 * MADE * OWN
    assert np.sum(~pairs.genuine) == crossed
    assert np.sum(pairs.genuine) == 2 * OWN * (OWN - 1) // 2
    for kind, names in ((True, own), (False, made)):
        chosen = pairs.genuine == kind
        assert [names[i] for i in pairs.one[chosen]] == [own[i] for i in pairs.other[chosen]]
    assert not np.any(pairs.genuine & (pairs.one == pairs.other))
    few = genuine_pairs(converted[:3], made[:3], genuine, own, seed=3)
    assert np.sum(few.genuine) == np.sum(~few.genuine) == 3 * OWN
    assert np.array_equal(few.scores, genuine_pairs(converted[:3], made[:3], genuine, own, seed=3).scores)
    found = genuine_eer_interval(pairs, 20).value
    assert found == pytest.approx(sklearn_eer(pairs.scores, pairs.genuine), abs=0.02)


def test_the_interval_is_as_wide_as_other_draws_of_recordings_make_it() -> None:
    interval = genuine_eer_interval(genuine_pairs(*voices(0.3), seed=0), 300)
    again = [genuine_eer_interval(genuine_pairs(*voices(0.3, seed), seed=0), 1).value for seed in range(1, 60)]
    width = float(np.subtract(*np.percentile(again, [97.5, 2.5])))
    assert 0.5 * width < interval.high - interval.low < 2 * width


def test_one_recording_has_nothing_to_be_compared_with() -> None:
    converted, made, genuine, own = voices(0.3)
    assert np.isnan(
        genuine_eer_interval(genuine_pairs(converted[:3], made[:3], genuine[:1], own[:1], seed=0), 10).value
    )


def kept(pairs: Pairs) -> list[dict[str, object]]:
    rows = [{"kind": "speaker", "group": "c00", "claimed": "ann", "score": 0.0}]
    for genuine, one, other, score in zip(pairs.genuine, pairs.one, pairs.other, pairs.scores, strict=True):
        kind, group = ("genuine", f"r{one:02d}") if genuine else ("converted", f"c{one:02d}")
        rows.append({"kind": kind, "group": group, "claimed": f"r{other:02d}", "score": float(score)})
    return rows


def test_pairs_come_back_from_what_was_kept_of_them() -> None:
    pairs = genuine_pairs(*voices(0.3), seed=0)
    back = pairs_from(kept(pairs))
    assert all(np.array_equal(getattr(back, n), getattr(pairs, n)) for n in ("genuine", "one", "other", "scores"))


def test_systems_differ_by_the_same_draws_of_the_same_recordings() -> None:
    near, far = (genuine_pairs(*voices(away), seed=0) for away in (0.1, 0.4))
    itself = genuine_eer_difference(far, far, 50)
    assert itself is not None and (itself.low, itself.value, itself.high) == (0, 0, 0)
    difference = genuine_eer_difference(far, near, 200)
    rates = [genuine_eer_interval(pairs, 1).value for pairs in (far, near)]
    assert difference is not None and difference.value == pytest.approx(rates[0] - rates[1])
    assert difference.low <= difference.value <= difference.high < 0
    converted, made, genuine, own = voices(0.1)
    assert genuine_eer_difference(far, genuine_pairs(converted[:5], made[:5], genuine, own, seed=0)) is None
