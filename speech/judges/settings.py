"""Section ``evaluate`` of the parameters: which judges listen, and how they are set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ASR:
    """The speech recogniser and the language it may hear."""

    judge: Literal["pocketsphinx"]
    mode: Literal["open", "lm", "words", "sentences"]


@dataclass(frozen=True)
class Evaluate:
    """The judges."""

    asr: ASR
    speaker_judge: Literal["resemblyzer"]
    speaker_seconds: float
    f0_tolerance: float
    bootstrap: int

    def __post_init__(self) -> None:
        for name in ("speaker_seconds", "f0_tolerance", "bootstrap"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")
