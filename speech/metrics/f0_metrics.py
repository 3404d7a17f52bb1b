"""Errors between two F0 contours: VDE, GPE, FFE (Chu & Alwan 2009) and log-F0 RMSE in cents.

**Silence and alignment.** Frames from where the reference's speech begins to where it ends are compared: those before
and after, 40 dB below its loudest, are silence that any output gets right. With ``evaluate.f0_alignment: lag``, the
default, one constant delay of up to 0.1 s (a filter's, a codec's) is taken out, and frames are then compared at equal
times: a system here makes every output sample from the units at the same instant of the source. ``none`` counts a delay
as an error; ``dtw`` is for outputs with a timing of their own. See :mod:`speech.metrics.alignment`. An output that ends
early is unvoiced from there on.

**Conversion.** A converted voice is meant to leave the source's register, so F0 in Hz is compared with the contour
*expected* of it, :func:`move_contour`: the source's contour carried to the target speaker's log-F0 mean and deviation.
Voicing is untouched by this, so VDE is the same with and without it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CENTS_PER_OCTAVE = 1200.0
FEWEST_VOICED, FLAT_HZ = 10, 1e-3


@dataclass(frozen=True)
class F0Counts:
    """Counts of frames that the four metrics of one or many utterances are made of."""

    frames: int
    voicing_errors: int
    voiced_both: int
    gross_errors: int
    squared_cents: float


def compare_f0(
    reference: np.ndarray, output: np.ndarray, num_frames: int | None = None, tolerance: float = 0.2
) -> F0Counts:
    """Count voicing and gross pitch errors of ``output`` against ``reference``.

    Args:
        reference: ``(N,)`` F0 in Hz, 0 where unvoiced.
        output: ``(M,)`` likewise, on the same frame grid.
        num_frames: compare this many leading frames (the speech part); all of the reference when None.
        tolerance: a frame voiced in both is grossly wrong when F0 deviates by more than this share of the reference.

    Returns:
        The counts; ``squared_cents`` is summed over frames voiced in both, gross errors included.
    """
    length = len(reference) if num_frames is None else min(num_frames, len(reference))
    expected = np.asarray(reference[:length], np.float64)
    found = np.zeros(length)
    available = min(length, len(output))
    found[:available] = output[:available]
    both = (expected > 0) & (found > 0)
    ratio = found[both] / expected[both]
    return F0Counts(
        frames=length,
        voicing_errors=int(np.sum((expected > 0) != (found > 0))),
        voiced_both=int(np.sum(both)),
        gross_errors=int(np.sum(np.abs(ratio - 1.0) > tolerance)),
        squared_cents=float(np.sum((CENTS_PER_OCTAVE * np.log2(ratio)) ** 2)),
    )


def f0_correlation(reference: np.ndarray, output: np.ndarray) -> float | None:
    """Correlate F0 in Hz (Pearson) over the frames voiced in both contours, each ``(N,)``, 0 where unvoiced.

    Returns:
        None with fewer than ten such frames (50 ms), or where either is flat: no correlation is defined.
    """
    both = (np.asarray(reference) > 0) & (np.asarray(output) > 0)
    one, other = (np.asarray(contour, np.float64)[both] for contour in (reference, output))
    if both.sum() < FEWEST_VOICED or one.std() < FLAT_HZ or other.std() < FLAT_HZ:
        return None
    return float(np.corrcoef(one, other)[0, 1])


def move_contour(
    f0: np.ndarray, source: tuple[float, float], target: tuple[float, float], max_scale: float = 4.0
) -> np.ndarray:
    """Carry a contour from one speaker's log-F0 statistics to another's; unvoiced frames stay 0.

    Args:
        f0: ``(N,)`` in Hz, 0 where unvoiced.
        source: mean and standard deviation of ln(F0 in Hz) over the source speaker's voiced frames.
        target: likewise of the target speaker.
        max_scale: bound on the ratio of deviations; beyond it a speaker's deviation rests on too few frames.
    """
    moved = np.zeros(len(f0))
    voiced = np.asarray(f0) > 0
    # A source without spread tells nothing of scale: move its mean only.
    scale = min(target[1] / source[1], max_scale) if source[1] > 0 else 1.0
    moved[voiced] = np.exp((np.log(np.asarray(f0, np.float64)[voiced]) - source[0]) * scale + target[0])
    return moved


def vde(counts: F0Counts) -> float:
    """Return the voicing decision error (Nakatani 2008): percent of frames voiced in one contour only.

    It is NaN without frames.
    """
    return _percent(counts.voicing_errors, counts.frames)


def gpe(counts: F0Counts) -> float:
    """Return the gross pitch error: percent of the frames voiced in both that are off by more than the tolerance."""
    return _percent(counts.gross_errors, counts.voiced_both)


def ffe(counts: F0Counts) -> float:
    """Return the F0 frame error (Chu & Alwan 2009): percent of all frames with a voicing or a gross pitch error."""
    return _percent(counts.voicing_errors + counts.gross_errors, counts.frames)


def f0_rmse_cents(counts: F0Counts) -> float:
    """Return the root mean square log-F0 difference in cents over frames voiced in both; NaN when there are none."""
    return float(np.sqrt(counts.squared_cents / counts.voiced_both)) if counts.voiced_both else float("nan")


def _percent(errors: float, total: float) -> float:
    return 100.0 * errors / total if total else float("nan")
