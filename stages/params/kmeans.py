"""Section ``kmeans``: the unit codebook."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stages.params.schema import positive


@dataclass(frozen=True)
class KMeans:
    """The unit codebook: where from (``fit``, ``file``, a public name or address), K, normalisation, fitting."""

    source: str
    path: str
    sha256: str | None
    k: int
    normalise: Literal["none", "utterance", "speaker"]
    batch_frames: int
    init_frames: int
    passes: int

    def __post_init__(self) -> None:
        positive(self, "batch_frames", "init_frames", "passes")
        if not 2 <= self.k <= 65535:
            raise ValueError(f"k must be between 2 and 65535 (units are stored as uint16), not {self.k}")


SECTIONS = {"kmeans": KMeans}
