"""Changes of a melody: flat, of wider or narrower range, higher or lower, or that of another recording.

All on normalised F0 (:func:`speech.pitch.normalise_f0`), which is what a system hears (Polyak et al. 2021, section
3.3). A flattened melody lies at the speaker's mean, which is 0 when normalised, and so are unvoiced frames: levels that
a quantiser would take for unvoiced are left out (``band``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from speech.errors import UserError
from speech.pitch import Normalisation, denormalise_f0, normalise_f0

# No voice is lower; keeps the logarithm of a melody that was moved far down finite.
LOWEST_HZ = 20.0


@dataclass(frozen=True)
class Intonation:
    """A change of a melody.

    Attributes:
        semitones: how much higher it becomes.
        span: factor of its distances from the speaker's mean; 0 is flat, 1 as it is.

    Raises:
        UserError: a span below 0, which would turn the melody upside down.
    """

    semitones: float = 0.0
    span: float = 1.0

    def __post_init__(self) -> None:
        if not self.span >= 0:
            raise UserError(f"pitch range: {self.span:g} is no factor; 0 is flat, 1 leaves the range as it is")


UNCHANGED = Intonation()
FLAT = Intonation(span=0.0)


def intone(
    f0: np.ndarray,
    voiced: np.ndarray,
    stats: Mapping[str, Any],
    mode: Normalisation,
    intonation: Intonation,
    band: tuple[float, float] = (0.0, 0.0),
) -> np.ndarray:
    """Change a melody.

    Args:
        f0: ``(N,)`` normalised.
        voiced: ``(N,)`` bool; a voiced frame at the speaker's mean is 0 too.
        stats: F0 statistics of its speaker, which decide how many Hz a semitone is.
        mode: of the normalisation.
        intonation: the change.
        band: open interval around 0 that a narrowed melody must not enter; frames inside go to its nearer end.

    Returns:
        ``(N,)`` float32, exactly 0 where not voiced.
    """
    moved = np.asarray(f0, dtype=np.float64) * intonation.span
    if intonation.semitones:
        hz = np.maximum(denormalise_f0(moved, stats, mode, voiced), LOWEST_HZ) * 2 ** (intonation.semitones / 12)
        moved = normalise_f0(np.where(voiced, hz, 0.0), stats, mode).astype(np.float64)
    if intonation.span < 1:
        low, high = band
        nearer = low if -low < high else high
        end = np.where(moved < 0, low, np.where(moved > 0, high, nearer))
        end = np.where(np.isfinite(end), end, nearer)
        moved = np.where((low < moved) & (moved < high), end, moved)
    return np.where(voiced, moved, 0.0).astype(np.float32)


def carry_melody(melody: np.ndarray, voiced: np.ndarray) -> np.ndarray:
    """Carry one recording's melody to the voicing of another: stretched to its length, gaps bridged by straight lines.

    Args:
        melody: ``(M,)`` F0, 0 where unvoiced.
        voiced: ``(N,)`` bool, of the recording that is to have it.

    Returns:
        ``(N,)`` float32, 0 where not voiced.

    Raises:
        UserError: the melody has no voiced frame.
    """
    places = np.flatnonzero(melody)
    if not len(places):
        raise UserError("the recording whose melody is wanted has no voiced frame")
    wanted = (np.arange(len(voiced)) + 0.5) * (len(melody) / max(len(voiced), 1)) - 0.5
    return np.where(voiced, np.interp(wanted, places, melody[places]), 0.0).astype(np.float32)
