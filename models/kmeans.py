"""Clustering by k-means in pieces: k-means++ of a sample, mini-batches, nearest centres by blocked matrix products.

N: frames, D: dimension, K: centres. Everything stays on the frames' device; random numbers come from a generator on the
processor, so that a GPU draws the same ones.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 8192  # frames per block: with 2000 centres 66 MB of distances


def nearest(frames: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Return the nearest centre of each frame ``(N,)`` int64 and the squared distances to it ``(N,)``."""
    half_norms = 0.5 * centres.square().sum(1)
    labels, distances = [], []
    for block in frames.split(BLOCK):
        # |x - c|^2 = |x|^2 + 2 (|c|^2 / 2 - x.c)
        least, label = torch.addmm(half_norms, block, centres.T, alpha=-1).min(1)
        labels.append(label)
        distances.append((block.square().sum(1) + 2 * least).clamp_min(0))
    return torch.cat(labels), torch.cat(distances)


def plus_plus(frames: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Draw starting centres ``(K, D)`` from ``frames`` by squared distance (Arthur and Vassilvitskii 2007).

    Of a few candidates for each centre the one that helps most is taken, as scikit-learn does.
    """
    norms = frames.square().sum(1)
    chosen = [int(torch.randint(len(frames), (1,), generator=generator))]
    closest = _distances(frames, norms, chosen)[0]
    for _ in range(k - 1):
        # On the processor in float64: sums in no fixed order would draw otherwise from run to run.
        upto = closest.double().cpu().cumsum(0)
        draws = torch.rand(2 + int(math.log(k)), generator=generator, dtype=torch.float64) * upto[-1]
        candidates = torch.searchsorted(upto, draws).clamp_max(len(frames) - 1).tolist()
        distances = torch.minimum(closest, _distances(frames, norms, candidates))
        best = int(distances.sum(1).argmin())
        chosen.append(candidates[best])
        closest = distances[best]
    return frames[chosen].clone()


def _distances(frames: Tensor, norms: Tensor, chosen: list[int]) -> Tensor:
    """Return squared distances ``(len(chosen), N)``."""
    centres = frames[chosen]
    return (norms + norms[chosen][:, None] - 2 * centres @ frames.T).clamp_min(0)


class MiniBatchKMeans:
    """Cluster centres that move towards the frames of each batch (Sculley 2010), the slower the more they have seen.

    Attributes:
        centres: ``(K, D)`` float32.
        counts: ``(K,)`` frames that each has seen.
    """

    def __init__(self, centres: Tensor) -> None:
        self.centres = centres.clone()
        self.counts = torch.zeros(len(centres), dtype=torch.float64, device=centres.device)

    def update(self, frames: Tensor) -> tuple[Tensor, float]:
        """Learn from ``(N, D)`` frames, and return their labels before and the sum of squared distances."""
        labels, distances = nearest(frames, self.centres)
        # Sums as a matrix product: scattered additions on a GPU come in no fixed order.
        members = F.one_hot(labels, len(self.centres)).to(frames.dtype)
        found = members.sum(0)
        self.counts += found
        step = (members.T @ frames - found[:, None] * self.centres) / self.counts.clamp_min(1).to(frames.dtype)[:, None]
        self.centres += step
        return labels, float(distances.double().sum())

    def revive(self, frames: Tensor, ratio: float, generator: torch.Generator) -> int:
        """Place centres that saw less than ``ratio`` of the busiest's frames on random ``frames``; return how many."""
        rare = torch.nonzero(self.counts < ratio * self.counts.max()).flatten()[: len(frames) // 2]
        if not len(rare):
            return 0
        drawn = torch.randperm(len(frames), generator=generator)[: len(rare)].to(frames.device)
        self.centres[rare] = frames[drawn]
        others = torch.ones_like(self.counts, dtype=torch.bool).index_fill(0, rare, False)
        self.counts[rare] = self.counts[others].min()  # so that they move, but not at a jump
        return len(rare)
