"""Section ``pretrain``: pretraining of a HuBERT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from stages.params.schema import fraction, positive
from stages.params.training import Loop, Optimiser


@dataclass(frozen=True)
class PretrainIteration:
    """One round of pretraining: K clusters of a teacher's layer, predicted for so many steps.

    ``teacher``: signal features, or hubert: the encoder in folder ``path``. ``warm_start`` goes on from its weights.
    """

    teacher: Literal["mfcc", "logmel", "hubert"]
    path: str
    layer: int
    k: int
    steps: int
    warm_start: bool

    def __post_init__(self) -> None:
        positive(self, "steps")
        if not 2 <= self.k <= 65535:
            raise ValueError(f"k must be between 2 and 65535, not {self.k}")
        if self.warm_start and self.teacher != "hubert":
            raise ValueError(f"warm_start takes a teacher's weights, and {self.teacher} has none")


@dataclass(frozen=True)
class PretrainClusters:
    """Fitting of the teacher's clusters, on the share ``keep`` of the utterances; otherwise as ``KMeans``."""

    normalise: Literal["none", "utterance", "speaker"]
    batch_frames: int
    init_frames: int
    passes: int
    keep: float

    def __post_init__(self) -> None:
        positive(self, "batch_frames", "init_frames", "passes", "keep")
        fraction(self, "keep")
        if self.keep < 1 and self.normalise == "speaker":
            raise ValueError("keep below 1 leaves out frames of a speaker's mean; set normalise to none or utterance")


@dataclass(frozen=True)
class Pretrain:
    """Pretraining of a HuBERT of sizes ``model`` (``models.encoders.hubert.Hubert``'s arguments)."""

    iterations: dict[str, PretrainIteration]
    model: dict[str, Any]
    clusters: PretrainClusters
    mask_starts: float
    mask_span: int
    unmasked_weight: float
    label_dim: int
    temperature: float
    warmup: float
    optimiser: Optimiser
    loop: Loop

    def __post_init__(self) -> None:
        positive(self, "mask_span", "label_dim", "temperature")
        fraction(self, "mask_starts", "warmup")


SECTIONS = {"pretrain": Pretrain}
