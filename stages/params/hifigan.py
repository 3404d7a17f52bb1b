"""The parts of a section that trains a HiFi-GAN, whatever it synthesizes from: discriminators and weights of losses."""

from __future__ import annotations

from dataclasses import dataclass

from stages.params.schema import positive


@dataclass(frozen=True)
class DiscriminatorModel:
    """Multi-period and multi-scale discriminators; ``width`` times the published channels."""

    width: float
    periods: list[int]
    scales: int


@dataclass(frozen=True)
class GeneratorLoss:
    """Weights of the generator's losses beside the adversarial one."""

    mel: float
    feature: float
    stft: float
    floor: float

    def __post_init__(self) -> None:
        positive(self, "floor")
