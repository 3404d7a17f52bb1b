"""Sections ``f0`` and ``f0_stats``: the F0 tracker, and the statistics of speakers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stages.params.schema import positive


@dataclass(frozen=True)
class F0:
    """The F0 tracker and its range in Hz."""

    method: Literal["harvest", "dio", "yaapt"]
    floor_hz: float
    ceil_hz: float

    def __post_init__(self) -> None:
        positive(self, "floor_hz")
        if not self.floor_hz < self.ceil_hz:
            raise ValueError(f"floor_hz ({self.floor_hz}) must be below ceil_hz ({self.ceil_hz})")


@dataclass(frozen=True)
class F0Stats:
    """Fewest voiced frames (5 ms) that make a speaker's own statistics."""

    min_voiced_frames: int


SECTIONS = {"f0": F0, "f0_stats": F0Stats}
