"""Voices: known by name, or heard in a recording."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from speech.errors import AudioError, UserError


@dataclass(frozen=True)
class Voice:
    """A voice that a system is to synthesize.

    Attributes:
        name: for messages.
        stats: F0 statistics, ``{"hz": {"mean", "std"}, "log": {"mean", "std"}, ...}``.
        row: of the system's speaker table; None for somebody who is not in it.
        vector: d-vector ``(256,)`` float32; None where there is none.
    """

    name: str
    stats: Mapping[str, Any]
    row: int | None = None
    vector: np.ndarray | None = None

    def moved(self, semitones: float, span: float) -> Voice:
        """Return the same voice, by its statistics so much higher and with so many times the range."""
        hz, log, factor = self.stats["hz"], self.stats["log"], 2 ** (semitones / 12)
        moved = {
            "hz": {"mean": hz["mean"] * factor, "std": hz["std"] * factor * span},
            "log": {"mean": log["mean"] + math.log(factor), "std": log["std"] * span},
        }
        return dataclasses.replace(self, stats={**self.stats, **moved})


def heard_voice(speech: np.ndarray, f0: np.ndarray, name: str) -> Voice:
    """Return the voice of a recording (T,) at 16 kHz with its F0 (N,) in Hz.

    Raises:
        AudioError: it has no voiced speech.
        UserError: Resemblyzer is not installed.
    """
    from speech.pitch import voiced_statistics

    _require_resemblyzer("hearing who speaks", "name one of the system's speakers")
    from speech.dvectors import embed

    try:
        stats = voiced_statistics(f0)
    except UserError:
        raise AudioError(f"{name}: has no voiced speech, by which a voice is known") from None
    return Voice(name, stats, None, embed(speech))


def nearest_speaker(path: Path, names: Sequence[str], vectors: Mapping[str, np.ndarray], speech: np.ndarray) -> str:
    """Return the speaker whose d-vector is nearest to that of speech.

    Args:
        path: of the system's bundle, for messages.
        names: of its speakers.
        vectors: d-vectors (256,) float32 by name.
        speech: (T,) at 16 kHz.

    Raises:
        UserError: there are several and none has a d-vector, or Resemblyzer is not installed.
    """
    if len(names) == 1:
        return names[0]
    advice = f"say who speaks (--speaker); {path} has {', '.join(names)}"
    if not vectors:
        raise UserError(f"the system has no d-vectors to find the speaker by: {advice}")
    _require_resemblyzer("finding the speaker", advice)
    from speech.dvectors import embed, similarity

    heard = embed(speech)
    return max(vectors, key=lambda name: float(similarity(heard, vectors[name])))


def _require_resemblyzer(purpose: str, otherwise: str) -> None:
    if importlib.util.find_spec("resemblyzer") is None:
        raise UserError(f"{purpose} needs Resemblyzer: install it, or {otherwise}")
