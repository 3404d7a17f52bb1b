"""Units against scikit-learn's nearest centroid, itertools' runs and scipy's entropy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from speech.units import (
    FrameMoments,
    assign,
    normaliser,
    num_frames,
    perplexity,
    run_lengths,
    shuffle_units,
)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_assign_equals_sklearn(dtype: type) -> None:
    from sklearn.cluster import KMeans

    rng = np.random.default_rng(0)
    features = rng.standard_normal((9000, 39)).astype(dtype) * 3 + 5
    centroids = features[rng.choice(9000, 100, replace=False)].astype(np.float32)
    model = KMeans(100, init=centroids, n_init=1, max_iter=1).fit(centroids)
    model.cluster_centers_ = centroids
    units = assign(features, centroids)
    assert units.dtype == np.uint16 and units.shape == (9000,)
    assert np.array_equal(units, model.predict(features.astype(np.float32)))


def test_assign_uses_the_whole_uint16_range() -> None:
    centroids = np.stack(np.divmod(np.arange(65_536), 256), axis=1).astype(np.float32)
    chosen = np.array([0, 255, 256, 32_768, 65_535])
    assert np.array_equal(assign(centroids[chosen], centroids), chosen)


def test_assign_of_nothing() -> None:
    assert assign(np.zeros((0, 4), np.float16), np.zeros((3, 4), np.float32)).shape == (0,)


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (319, 0), (320, 1), (1280, 4), (16_000, 50)])
def test_num_frames(samples: int, frames: int) -> None:
    assert num_frames(samples) == frames


def test_run_lengths_equal_itertools_groupby() -> None:
    units = np.random.default_rng(1).integers(0, 3, 500).astype(np.uint16)
    groups = [(key, len(list(run))) for key, run in itertools.groupby(units.tolist())]
    values, durations = run_lengths(units)
    assert list(zip(values.tolist(), durations.tolist(), strict=True)) == groups
    assert np.array_equal(np.repeat(values, durations), units)
    assert [len(part) for part in run_lengths(units[:0])] == [0, 0]


def test_shuffled_units_are_a_seeded_permutation() -> None:
    units = np.arange(200, dtype=np.uint16)
    shuffled = shuffle_units(units, 7)
    assert shuffled.dtype == np.uint16
    assert np.array_equal(np.sort(shuffled), units)
    assert np.array_equal(shuffled, shuffle_units(units, 7))
    assert not np.array_equal(shuffled, shuffle_units(units, 8))
    assert (shuffled == units).mean() < 0.1


def test_perplexity_equals_scipy_entropy() -> None:
    from scipy.stats import entropy

    counts = np.random.default_rng(2).integers(0, 50, 100)
    assert perplexity(counts) == pytest.approx(np.exp(entropy(counts / counts.sum())))
    assert perplexity(np.full(20, 3)) == pytest.approx(20)


def test_normalisers_take_the_right_statistics() -> None:
    rng = np.random.default_rng(3)
    one, two = (rng.normal(5, 2, (n, 8)).astype(np.float16) for n in (40, 90))
    moments = FrameMoments.empty(8)
    for part in (one, two):
        moments.add(part)
    speaker = moments.normaliser()
    pooled = np.concatenate([one, two]).astype(np.float64)
    np.testing.assert_allclose(speaker.mean, pooled.mean(0), rtol=1e-6)
    np.testing.assert_allclose(speaker.std, pooled.std(0), rtol=1e-4)

    assert np.array_equal(normaliser("none", one, speaker)(one), one.astype(np.float32))
    assert normaliser("speaker", one, speaker) is speaker
    for mode in ("utterance", "speaker"):
        normalised = normaliser(mode, one)(one)
        np.testing.assert_allclose(normalised.mean(0), 0, atol=1e-4)
        np.testing.assert_allclose(normalised.std(0), 1, atol=1e-3)


def test_a_constant_dimension_stays_small() -> None:
    flat = np.full((30, 2), -9.2, np.float32)
    assert np.abs(normaliser("utterance", flat)(flat)).max() < 0.1
