"""Section ``audio``: how recordings are conditioned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stages.params.schema import positive


@dataclass(frozen=True)
class Audio:
    """The conditioning and storage of recordings; see ``speech.audio.waveforms.Conditioning``."""

    codec: Literal["flac", "wav"]
    trim_db: float | None
    normalise_peak: float
    pad_multiple: int
    min_seconds: float
    max_seconds: float

    def __post_init__(self) -> None:
        positive(self, "normalise_peak", "pad_multiple", "min_seconds", "max_seconds")


SECTIONS = {"audio": Audio}
