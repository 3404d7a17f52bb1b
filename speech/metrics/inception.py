"""Scores of how sure and how various a classifier finds generated recordings: inception and activation maximisation.

As Baas & Kamper 2022 judge digits (section 4, after SaShiMi's benchmark, Goel et al. 2022). Arguments are natural
logarithms of class probabilities ``(N, C)``; scores are in nats, or their exponentials.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from speech.metrics.frechet import Gaussian


@dataclass(frozen=True)
class RealDigits:
    """A classifier's impression of real recordings: the Gaussian of its features, its mean probabilities ``(10,)``."""

    features: Gaussian
    probabilities: np.ndarray


def inception_score(logs: np.ndarray, seed: int = 0) -> float:
    """Return exp of the mean KL divergence of one half, drawn by ``seed``, from the mean of the other.

    1 (worst) to about C; ``N > 1``. Salimans et al. 2016.
    """
    logs = np.asarray(logs, np.float64)[np.random.RandomState(seed).permutation(len(logs))]
    half = len(logs) // 2
    overall = np.log(np.exp(logs[half:]).mean(axis=0))
    return float(np.exp(_divergence(logs[:half], overall[None]).mean()))


def modified_inception_score(logs: np.ndarray, pairs: int | None = None, seed: int = 123) -> float:
    """Return exp of the mean KL divergence of one recording from another: also rewards variety within a class.

    Gurumurthy et al. 2017. Of all N^2 ordered pairs, or of so many ``pairs`` drawn by ``seed``, which estimate it.
    """
    logs = np.asarray(logs, np.float64)
    if pairs is None:
        probabilities = np.exp(logs)
        cross = probabilities.mean(axis=0) @ logs.mean(axis=0)
        return float(np.exp((probabilities * logs).sum(axis=1).mean() - cross))
    one, other = np.random.RandomState(seed).choice(len(logs), (pairs, 2)).T
    return float(np.exp(_divergence(logs[one], logs[other]).mean()))


def am_score(logs: np.ndarray, real: np.ndarray) -> float:
    """Return the KL divergence of ``real`` mean probabilities ``(C,)`` from the generated, plus these' mean entropy.

    0 is best. Zhou et al. 2018.
    """
    logs = np.asarray(logs, np.float64)
    probabilities = np.exp(logs)
    overall = probabilities.mean(axis=0)
    present = real > 0
    balance = np.sum(real[present] * np.log(real[present] / overall[present]))
    return float(balance - (probabilities * logs).sum(axis=1).mean())


def _divergence(logs: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the KL divergence ``(N,)`` of rows from rows."""
    return (np.exp(logs) * (logs - others)).sum(axis=1)
