"""The Fréchet distance between two sets of features, each taken for a Gaussian (Heusel et al. 2017).

By Dowson & Landau 1982, |m1 - m2|^2 + Tr(C1 + C2 - 2 (C1 C2)^(1/2)). With roots C = R^T R, of which the centred
features are one, the trace of the last term is the sum of the singular values of R1 R2^T: no square root of a matrix is
taken, so that fewer features than dimensions, whose covariance is singular, need no care. N: recordings, D: dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Gaussian:
    """A Gaussian by its mean ``(D,)`` and a root ``(R, D)`` of its covariance: ``root.T @ root``; float64."""

    mean: np.ndarray
    root: np.ndarray


def fit_gaussian(features: np.ndarray) -> Gaussian:
    """Fit a Gaussian to ``(N, D)`` features, its covariance unbiased; the root has ``min(N, D)`` rows.

    Raises:
        ValueError: there are fewer than two.
    """
    features = np.asarray(features, np.float64)
    if len(features) < 2:
        raise ValueError(f"a covariance needs two recordings or more, not {len(features)}")
    mean = features.mean(axis=0)
    centred = (features - mean) / np.sqrt(len(features) - 1)
    if len(centred) > centred.shape[1]:
        centred = np.asarray(np.linalg.qr(centred, mode="r"))
    return Gaussian(mean, centred)


def frechet_distance(one: Gaussian, other: Gaussian) -> float:
    """Return the (squared) distance, 0 for equal ones; it is called FID where the features are a classifier's."""
    shared = np.linalg.svd(one.root @ other.root.T, compute_uv=False).sum()
    apart = np.sum((one.mean - other.mean) ** 2)
    return float(apart + np.sum(one.root**2) + np.sum(other.root**2) - 2 * shared)
