"""Mel-cepstra from WORLD's spectral envelope: free of harmonics, the frequency axis warped to be like hearing's.

Cepstra of the log-amplitude envelope (CheapTrick, Morise 2015), warped by the all-pass of Oppenheim & Johnson (1972),
as SPTK's ``sp2mc`` makes them: order 24, alpha 0.42 at 16 kHz.
"""

from __future__ import annotations

import functools

import numpy as np

from speech.pitch import extract_f0
from speech.rates import F0_HOP, SAMPLE_RATE

ORDER = 24
ALPHA = 0.42
_FFT = 1024


def mel_cepstra(wave: np.ndarray, order: int = ORDER, alpha: float = ALPHA) -> np.ndarray:
    """Compute mel-cepstra every 5 ms.

    Args:
        wave: ``(T,)`` at 16 kHz, ``T >= 80``.
        order: highest coefficient.
        alpha: warping; 0 is none.

    Returns:
        ``(T // 80, order + 1)`` float64; coefficient 0 is the level, natural logarithm of amplitude.
    """
    import pyworld

    f0 = extract_f0(wave, "dio").astype(np.float64)
    times = np.arange(len(f0)) * F0_HOP / SAMPLE_RATE
    envelope = pyworld.cheaptrick(np.ascontiguousarray(wave, np.float64), f0, times, SAMPLE_RATE, fft_size=_FFT)
    return cepstra_of(envelope, order, alpha)


def cepstra_of(power: np.ndarray, order: int, alpha: float) -> np.ndarray:
    """Compute warped cepstra ``(N, order + 1)`` of power envelopes ``(N, K)`` at K frequencies from 0 to half the rate.

    They are those of the minimum-phase filter: log |H(w)| is the sum of ``c[k] cos(k v)``, v being w warped.
    """
    cepstra = np.fft.irfft(np.log(np.maximum(power, 1e-16)), axis=1)[:, : power.shape[1]]
    cepstra[:, 0] /= 2
    return cepstra @ warping(cepstra.shape[1], order, alpha)


@functools.cache
def warping(length: int, order: int, alpha: float) -> np.ndarray:
    """Make the matrix ``(length, order + 1)`` that warps cepstra: Oppenheim & Johnson's recursion, for all at once."""
    warped = np.zeros((order + 1, length))
    for row in range(length - 1, -1, -1):
        before = warped.copy()
        warped[0] = alpha * before[0]
        warped[0, row] += 1.0
        if order:
            warped[1] = (1 - alpha**2) * before[0] + alpha * before[1]
        for k in range(2, order + 1):
            warped[k] = before[k - 1] + alpha * (before[k] - warped[k - 1])
    return warped.T
