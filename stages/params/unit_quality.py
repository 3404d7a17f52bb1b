"""Section ``unit_quality``: the gate on units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stages.params.schema import positive


@dataclass(frozen=True)
class UnitQuality:
    """The gate on units: sizes of codebook, normalisations and signal features to compare, pairs per text."""

    k: list[int]
    normalise: list[Literal["none", "utterance", "speaker"]]
    baselines: list[Literal["mfcc", "logmel"]]
    pairs: int

    def __post_init__(self) -> None:
        positive(self, "pairs")


SECTIONS = {"unit_quality": UnitQuality}
