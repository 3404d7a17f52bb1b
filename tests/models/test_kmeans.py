"""k-means in pieces against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models import kmeans
from models.kmeans import MiniBatchKMeans, nearest, plus_plus


def clusters(count: int = 3000, k: int = 12, dim: int = 5) -> torch.Tensor:
    rng = np.random.default_rng(0)
    centres = rng.normal(0, 4, (k, dim))
    return torch.from_numpy((centres[rng.integers(0, k, count)] + rng.normal(0, 0.5, (count, dim))).astype(np.float32))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_nearest_is_sklearns(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.metrics import pairwise_distances_argmin_min

    monkeypatch.setattr(kmeans, "BLOCK", 700)
    frames, centres = clusters(), clusters(40)
    labels, distances = nearest(frames, centres)
    expected, away = pairwise_distances_argmin_min(frames.numpy(), centres.numpy())
    assert np.array_equal(labels.numpy(), expected)
    np.testing.assert_allclose(distances.numpy(), away**2, rtol=1e-3, atol=1e-3)


def test_plus_plus_starts_as_well_as_sklearn() -> None:
    from sklearn.cluster import kmeans_plusplus

    frames = clusters()
    ours = [float(nearest(frames, plus_plus(frames, 12, generator(seed)))[1].sum()) for seed in range(8)]
    theirs = [kmeans_plusplus(frames.numpy(), 12, random_state=seed)[0] for seed in range(8)]
    inertias = [float(nearest(frames, torch.from_numpy(start))[1].sum()) for start in theirs]
    random = [
        float(nearest(frames, frames[torch.randperm(3000, generator=generator(s))[:12]])[1].sum()) for s in range(8)
    ]
    assert np.mean(ours) < 1.1 * np.mean(inertias) < 0.8 * np.mean(random)
    start = plus_plus(frames, 12, generator())
    assert torch.equal(start, plus_plus(frames, 12, generator()))
    assert len(start.unique(dim=0)) == 12
    assert all((frames == centre).all(1).any() for centre in start)


def test_one_batch_is_lloyds_step() -> None:
    from sklearn.cluster import KMeans

    frames = clusters()
    start = frames[:12].clone()
    model = MiniBatchKMeans(start)
    labels, inertia = model.update(frames)
    reference = KMeans(12, init=start.numpy(), n_init=1, max_iter=1, tol=0.0).fit(frames.numpy())
    assert torch.equal(labels, nearest(frames, start)[0])
    assert inertia == pytest.approx(float(nearest(frames, start)[1].sum()))
    np.testing.assert_allclose(model.centres.numpy(), reference.cluster_centers_, atol=1e-3)
    assert torch.equal(model.counts, torch.bincount(labels, minlength=12).double())


def test_a_centre_is_the_mean_of_all_it_ever_saw() -> None:
    frames = clusters(600)
    model = MiniBatchKMeans(torch.zeros(1, 5))
    for batch in frames.split(100):
        model.update(batch)
    torch.testing.assert_close(model.centres[0], frames.mean(0), atol=1e-5, rtol=0)


def test_dead_centres_come_back_to_life() -> None:
    frames = clusters()
    start = torch.cat([frames[:10], torch.full((2, 5), 1e4)])
    model = MiniBatchKMeans(start)
    model.update(frames)
    assert (model.counts == 0).sum() == 2
    assert model.revive(frames, 0.01, generator()) == 2
    assert (model.centres[10:].abs() < 100).all() and (model.counts[10:] > 0).all()
    model.update(frames)
    assert (torch.bincount(nearest(frames, model.centres)[0], minlength=12) > 0).all()
    assert model.revive(frames, 0.0, generator()) == 0


def test_distances_are_taken_where_the_frames_are() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():  # shapes and devices of a GPU without one
        frames, centres = torch.zeros(100, 8, device="cuda"), torch.zeros(5, 8, device="cuda")
        assert {found.device.type for found in nearest(frames, centres)} == {"cuda"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_finds_the_centres_that_the_processor_finds() -> None:
    frames, found = clusters(), {}
    for device in ("cpu", "cuda"):
        draw, here = generator(), frames.to(device)
        model = MiniBatchKMeans(plus_plus(here, 12, draw))
        model.counts[3] = 1.0
        for batch in here.split(500):
            model.update(batch)
            model.revive(batch, 0.01, draw)
        assert model.centres.device.type == device
        found[device] = model.centres.cpu()
    torch.testing.assert_close(found["cuda"], found["cpu"], rtol=1e-3, atol=1e-3)
