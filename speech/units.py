"""Discrete speech units: counting, normalising and assigning frames, and sequences of units.

Units are the index of the nearest k-means centroid of a content encoder's frame, 50 a second (Lakhotia et al. 2021,
section 3; Polyak et al. 2021, section 2.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from speech.errors import UserError
from speech.rates import UNIT_HOP

# Dimensions that hardly vary (a band above the recording's bandwidth) must not be blown up to unit variance.
SMALLEST_STD = 1e-3
BLOCK = 4096  # frames per distance matrix: 4096 x 2000 centroids in float32 are 33 MB

# Frames by which other front ends fall short of one per 320 samples (fairseq's has one less), or pad.
TOLERANCE = 2

FrameNormalisation = Literal["none", "utterance", "speaker"]


def num_frames(num_samples: int) -> int:
    """Return the frames of ``num_samples`` at 16 kHz: one per whole 320, for every encoder and unit sequence."""
    return num_samples // UNIT_HOP


@dataclass
class FrameMoments:
    """Running per-dimension sums over frames, float64, for mean and variance normalisation."""

    count: int
    total: np.ndarray
    squares: np.ndarray

    @classmethod
    def empty(cls, dim: int) -> FrameMoments:
        """Return sums over no frames of ``dim`` dimensions."""
        return cls(0, np.zeros(dim), np.zeros(dim))

    def add(self, features: np.ndarray) -> None:
        """Add frames ``(N, D)``."""
        frames = np.asarray(features, dtype=np.float64)
        self.count += len(frames)
        self.total += frames.sum(axis=0)
        self.squares += np.square(frames).sum(axis=0)

    def normaliser(self) -> FrameNormaliser:
        """Return the normaliser to zero mean and unit variance over the frames added so far."""
        mean = self.total / max(self.count, 1)
        variance = np.maximum(self.squares / max(self.count, 1) - mean**2, 0.0)
        return FrameNormaliser(mean.astype(np.float32), np.maximum(np.sqrt(variance), SMALLEST_STD).astype(np.float32))


@dataclass(frozen=True)
class FrameNormaliser:
    """A normaliser that takes a mean out of frames and divides by a deviation, both ``(D,)`` float32."""

    mean: np.ndarray
    std: np.ndarray

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Normalise ``(N, D)`` frames; float32."""
        return (np.asarray(features, dtype=np.float32) - self.mean) / self.std


def normaliser(
    mode: FrameNormalisation, features: np.ndarray, speaker: FrameNormaliser | None = None
) -> FrameNormaliser:
    """Return the normaliser for one recording.

    Args:
        mode: ``none``, ``utterance`` (statistics of this recording) or ``speaker``.
        features: the recording's frames ``(N, D)``.
        speaker: statistics over all of the speaker's recordings. Without it (a single recording of an unknown
            speaker) ``speaker`` takes the recording's own, as ``utterance`` does.
    """
    if mode == "none":
        dim = features.shape[1]
        return FrameNormaliser(np.zeros(dim, np.float32), np.ones(dim, np.float32))
    if mode == "speaker" and speaker is not None:
        return speaker
    moments = FrameMoments.empty(features.shape[1])
    moments.add(features)
    return moments.normaliser()


def assign(features: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Assign each frame to its nearest centroid by squared Euclidean distance.

    Args:
        features: ``(N, D)``, normalised as the centroids' training frames were.
        centroids: ``(K, D)`` float32, ``K <= 65536``.

    Returns:
        ``(N,)`` uint16.
    """
    centroids = np.asarray(centroids, dtype=np.float32)
    # |x|^2 is the same for all centroids of a frame, so the nearest minimises |c|^2 / 2 - x.c: one matrix product.
    half_norms = 0.5 * np.square(centroids, dtype=np.float64).sum(axis=1).astype(np.float32)
    units = np.empty(len(features), dtype=np.uint16)
    for start in range(0, len(features), BLOCK):
        block = np.asarray(features[start : start + BLOCK], dtype=np.float32)
        units[start : start + BLOCK] = np.argmin(half_norms - block @ centroids.T, axis=1)
    return units


def run_lengths(units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Collapse repeats: ``(M,)`` units without repeats and their ``(M,)`` int64 durations in frames."""
    units = np.asarray(units)
    if not len(units):
        return units, np.zeros(0, dtype=np.int64)
    starts = np.concatenate(([0], np.flatnonzero(units[1:] != units[:-1]) + 1))
    return units[starts], np.diff(np.append(starts, len(units)))


def shuffle_units(units: np.ndarray, seed: int | Sequence[int]) -> np.ndarray:
    """Return the same units in random order: a control that keeps each utterance's inventory and loses its content."""
    return np.random.default_rng(seed).permutation(units)


def perplexity(counts: np.ndarray) -> float:
    """Return exp of the entropy of usage ``counts`` ``(K,)``: how many units are in use as if equally often."""
    shares = np.asarray(counts, dtype=np.float64) / max(float(np.sum(counts)), 1.0)
    used = shares[shares > 0]
    return float(np.exp(-(used * np.log(used)).sum()))


def fit_units(id_: str, units: np.ndarray, wanted: int) -> np.ndarray:
    """Fit units of an utterance to ``wanted``: cut, or filled with the last one, by up to two.

    Raises:
        UserError: they differ by more.
    """
    if abs(len(units) - wanted) > TOLERANCE:
        raise UserError(
            f"utterance '{id_}': {len(units)} units for {wanted} frames of audio; units made from recordings as they "
            "are want audio.trim_db: null, and another hop wants --hop"
        )
    return np.pad(units, (0, max(0, wanted - len(units))), mode="edge")[:wanted]
