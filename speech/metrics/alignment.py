"""Alignment: where speech begins and ends, and which frame of an output belongs to which of its reference.

All frames are of 5 ms: frame ``n`` is centred on sample ``80 n`` at 16 kHz, as F0's are.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from speech.metrics.cepstra import mel_cepstra
from speech.pitch import frame_rms
from speech.rates import F0_HOP

# Leading and trailing frames this far below the loudest are silence: as recordings are trimmed by default.
TRIM_DB = 40.0
# A delay that is a filter's or a codec's; longer ones are another timing, for which there is `dtw`.
MAX_LAG = 20
_FLOOR_DB = -60.0

Alignment = Literal["none", "lag", "dtw"]


def speech_frames(wave: np.ndarray, trim_db: float = TRIM_DB) -> tuple[int, int]:
    """Return the first frame (5 ms) of the speech and the one after its last; ``(0, 0)`` for silence.

    Args:
        wave: ``(T,)`` at 16 kHz.
        trim_db: dB below the loudest frame (25 ms RMS) that end the speech.
    """
    level = frame_rms(wave)
    loud = np.flatnonzero(level > max(level.max(initial=0.0) * 10 ** (-trim_db / 20), 1e-9))
    return (int(loud[0]), int(loud[-1]) + 1) if len(loud) else (0, 0)


def best_lag(reference: np.ndarray, output: np.ndarray, max_lag: int = MAX_LAG) -> int:
    """Return by how many frames (5 ms) the output comes later (negative: earlier) than its reference.

    The lag, of at most ``max_lag`` frames, at which the levels in dB correlate best; the smallest of equals.

    Args:
        reference: ``(T,)`` at 16 kHz.
        output: ``(S,)`` likewise.
        max_lag: frames.
    """
    one, other = _level_db(reference), _level_db(output)
    length = min(len(one), len(other)) - 2 * max_lag
    if length < max_lag:
        return 0
    window = one[max_lag : max_lag + length]
    lags = sorted(range(-max_lag, max_lag + 1), key=abs)
    scores = [_correlation(window, other[max_lag + lag : max_lag + lag + length]) for lag in lags]
    return lags[int(np.argmax(scores))]


def align(reference: np.ndarray, output: np.ndarray, mode: Alignment) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the frames to be compared: the reference's from begin to end of its speech, each with its partner.

    Args:
        reference: ``(T,)`` at 16 kHz.
        output: ``(S,)`` likewise.
        mode: ``none``: the frame at the same time; ``lag``: after one constant delay, :func:`best_lag`, is taken out;
            ``dtw``: time warping of mel-cepstra between the two stretches of speech.

    Returns:
        ``(N,)`` frames of the reference, ``(N,)`` frames of the output (maybe before its begin or after its end), and
        the delay in frames (0 with ``none`` and ``dtw``).
    """
    start, end = speech_frames(reference)
    frames = np.arange(start, end)
    if mode != "dtw":
        lag = best_lag(reference, output) if mode == "lag" else 0
        return frames, frames + lag, lag
    first, last = speech_frames(output)
    if not len(frames) or first == last:
        return frames, frames, 0
    # The level tells nothing of the sound: c0 is left out.
    one, other = (mel_cepstra(wave)[a:b, 1:] for wave, a, b in ((reference, start, end), (output, first, last)))
    path = warp(one, other)
    # A frame with several partners takes the one in the middle.
    partners = [int(np.median(path[1][path[0] == frame])) for frame in range(len(one))]
    return frames[: len(one)], first + np.array(partners, np.int64), 0


def take(contour: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Take ``contour`` ``(N,)`` at the given frames; 0 before its begin and after its end."""
    inside = (frames >= 0) & (frames < len(contour))
    taken = np.zeros(len(frames), dtype=np.asarray(contour).dtype)
    taken[inside] = np.asarray(contour)[frames[inside]]
    return taken


def warp(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Warp time (DTW, Sakoe & Chiba 1978): steps (1, 1), (1, 0), (0, 1), Euclidean distance, no weights, no band.

    Computed by anti-diagonals, so that memory is a byte for each pair of frames.

    Args:
        one: ``(N, D)``, ``N > 0``.
        other: ``(M, D)``, ``M > 0``.

    Returns:
        Frames of ``one`` and of ``other``, ``(L,)`` each, from (0, 0) to (N - 1, M - 1).
    """
    n, m = len(one), len(other)
    steps = np.zeros((n, m), np.uint8)
    # Costs of the last two anti-diagonals by row, with a border before row 0.
    before, last = np.full(n + 1, np.inf), np.full(n + 1, np.inf)
    before[0] = 0.0
    for diagonal in range(n + m - 1):
        rows = np.arange(max(0, diagonal - m + 1), min(n, diagonal + 1))
        local = np.linalg.norm(one[rows] - other[diagonal - rows], axis=1)
        ways = np.stack([before[rows], last[rows], last[rows + 1]])
        steps[rows, diagonal - rows] = best = np.argmin(ways, axis=0)
        now = np.full(n + 1, np.inf)
        now[rows + 1] = local + ways[best, np.arange(len(rows))]
        before, last = last, now
    return _trace(steps)


def _trace(steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    i, j = (size - 1 for size in steps.shape)
    path = [(i, j)]
    while i or j:
        step = steps[i, j]
        i, j = i - (step != 2), j - (step != 1)
        path.append((i, j))
    found = np.array(path[::-1], np.int64)
    return found[:, 0], found[:, 1]


def shift(wave: np.ndarray, lag: int, length: int) -> np.ndarray:
    """Return ``length`` samples of a wave at 16 kHz from ``lag`` frames (5 ms) on; zeros where there are none."""
    samples = np.arange(length) + lag * F0_HOP
    return take(wave, samples)


def _level_db(wave: np.ndarray) -> np.ndarray:
    level = frame_rms(wave)
    return 20 * np.log10(np.maximum(level / max(level.max(initial=0.0), 1e-9), 10 ** (_FLOOR_DB / 20)))


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    a, b = one - one.mean(), other - other.mean()
    # Rounded, so that among equals the smallest lag wins.
    return round(float(a @ b / np.sqrt(max((a @ a) * (b @ b), 1e-12))), 9)
