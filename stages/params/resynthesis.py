"""Sections of the resynthesis system (Polyak et al. 2021): ``train_f0_vq`` and ``train_resynthesis``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stages.params.hifigan import DiscriminatorModel, GeneratorLoss
from stages.params.training import Loop, Optimiser


@dataclass(frozen=True)
class F0VQModel:
    """F0 VQ-VAE: ``stride ** downs`` F0 frames per token, ``codes`` tokens."""

    codes: int
    embedding_dim: int
    width: int
    depth: int
    downs: int
    stride: int
    dilation_growth: int
    ema_decay: float


@dataclass(frozen=True)
class TrainF0VQ:
    """Training of the F0 VQ-VAE."""

    normalise: Literal["hz", "log"]
    commit_weight: float
    model: F0VQModel
    optimiser: Optimiser
    loop: Loop


@dataclass(frozen=True)
class GeneratorModel:
    """HiFi-GAN on embedded units; the product of ``upsample_rates`` is the unit hop in samples.

    ``source``: none, as published, or harmonic (pulses at the quantised F0 and noise, to be filtered).
    """

    embedding_dim: int
    initial_channels: int
    upsample_rates: list[int]
    upsample_kernels: list[int]
    resblock_kernels: list[int]
    resblock_dilations: list[list[int]]
    source: Literal["none", "harmonic"]

    def __post_init__(self) -> None:
        if len(self.upsample_rates) != len(self.upsample_kernels):
            raise ValueError("upsample_rates and upsample_kernels must have equal length")
        if len(self.resblock_kernels) != len(self.resblock_dilations):
            raise ValueError("resblock_kernels and resblock_dilations must have equal length")


@dataclass(frozen=True)
class ResynthesisLoss(GeneratorLoss):
    """Weights of losses, that of the durations among them."""

    duration: float = 1.0


@dataclass(frozen=True)
class TrainResynthesis:
    """Training of the unit HiFi-GAN, speakers by a ``table`` of their own or by d-``vector``.

    ``durations``: it also learns how long units last, so that units without repetitions can be spoken.
    """

    use_f0: bool
    speaker: Literal["table", "vector"]
    durations: bool
    adversarial_from_step: int
    generator: GeneratorModel
    discriminator: DiscriminatorModel
    loss: ResynthesisLoss
    optimiser: Optimiser
    loop: Loop


SECTIONS = {"train_f0_vq": TrainF0VQ, "train_resynthesis": TrainResynthesis}
