"""Sections of Soft-VC (van Niekerk et al. 2022). Each stage has its variants by name; there may be none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from stages.params.hifigan import DiscriminatorModel, GeneratorLoss
from stages.params.schema import fraction, positive
from stages.params.training import Loop, Optimiser

Content = Literal["units", "soft_units", "features"]


@dataclass(frozen=True)
class SoftUnitsVariant:
    """``alpha``: weight of the loss on hidden frames beside that on others; null: nothing is hidden."""

    alpha: float | None

    def __post_init__(self) -> None:
        if self.alpha is not None:
            fraction(self, "alpha")


@dataclass(frozen=True)
class TrainSoftUnits:
    """Fine-tuning of the encoder in use to name discrete units; ``model``: its sizes, where that has no weights."""

    variants: dict[str, SoftUnitsVariant]
    model: dict[str, Any]
    label_dim: int
    temperature: float
    mask_starts: float
    mask_span: int
    optimiser: Optimiser
    loop: Loop

    def __post_init__(self) -> None:
        positive(self, "label_dim", "temperature", "mask_span")
        fraction(self, "mask_starts")


@dataclass(frozen=True)
class SoftUnits:
    """The corpora that have soft units, and the folder of the encoder that makes them."""

    corpora: list[str]
    encoder: str


@dataclass(frozen=True)
class AcousticVariant:
    """The model's input, its corpus, and whether its voices are told apart by a table or there is but one."""

    content: Content
    corpus: str
    speakers: Literal["one", "table"]


@dataclass(frozen=True)
class AcousticSizes:
    """Sizes of ``models.softvc.acoustic.AcousticModel``."""

    unit_dim: int
    width: int
    channels: int
    hidden: int

    def __post_init__(self) -> None:
        positive(self, "unit_dim", "width", "channels", "hidden")


@dataclass(frozen=True)
class TrainAcoustic:
    """Training of the acoustic model on whole utterances."""

    variants: dict[str, AcousticVariant]
    mask_padding: bool
    model: AcousticSizes
    optimiser: Optimiser
    loop: Loop


@dataclass(frozen=True)
class VocoderSizes:
    """HiFi-GAN on log-mels; the product of ``upsample_rates`` is the mel's hop of 160 samples."""

    initial_channels: int
    upsample_rates: list[int]
    upsample_kernels: list[int]
    resblock_kernels: list[int]
    resblock_dilations: list[list[int]]

    def __post_init__(self) -> None:
        if len(self.upsample_rates) != len(self.upsample_kernels):
            raise ValueError("upsample_rates and upsample_kernels must have equal length")
        if len(self.resblock_kernels) != len(self.resblock_dilations):
            raise ValueError("resblock_kernels and resblock_dilations must have equal length")


@dataclass(frozen=True)
class VocoderVariant:
    """The corpus whose recordings a vocoder is trained on."""

    corpus: str


@dataclass(frozen=True)
class TrainVocoder:
    """Training of the vocoder on the log-mels of recordings."""

    variants: dict[str, VocoderVariant]
    adversarial_from_step: int
    generator: VocoderSizes
    discriminator: DiscriminatorModel
    loss: GeneratorLoss
    optimiser: Optimiser
    loop: Loop


@dataclass(frozen=True)
class FinetuneVariant:
    """The acoustic model whose mels a vocoder is to learn, what that model hears, and the vocoder to begin from."""

    acoustic: str
    content: Content
    corpus: str
    vocoder: str


@dataclass(frozen=True)
class FinetuneVocoder:
    """Fine-tuning of a vocoder on mels that an acoustic model predicts."""

    variants: dict[str, FinetuneVariant]
    adversarial_from_step: int
    loss: GeneratorLoss
    optimiser: Optimiser
    loop: Loop


@dataclass(frozen=True)
class SystemVariant:
    """The parts of a Soft-VC system: folders of the encoder, the acoustic model and the vocoder."""

    encoder: str
    acoustic: str
    vocoder: str


@dataclass(frozen=True)
class SoftVC:
    """Bundles ``systems/softvc-<variant>``."""

    variants: dict[str, SystemVariant]


SECTIONS = {
    "train_soft_units": TrainSoftUnits,
    "soft_units": SoftUnits,
    "train_acoustic": TrainAcoustic,
    "train_vocoder": TrainVocoder,
    "finetune_vocoder": FinetuneVocoder,
    "softvc": SoftVC,
}
