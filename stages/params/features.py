"""Section ``features``: how content features are extracted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stages.params.schema import fraction, positive


@dataclass(frozen=True)
class Features:
    """Extraction: seconds of audio per batch, precision, layers kept beside the encoder's, share of frames stored."""

    batch_seconds: float
    precision: Literal["float32", "bfloat16"]
    extra_layers: list[int]
    keep: float

    def __post_init__(self) -> None:
        positive(self, "batch_seconds")
        fraction(self, "keep")


SECTIONS = {"features": Features}
