"""The schema of what trains: sections ``pretrain``, ``train_f0_vq`` and ``train_resynthesis`` of ``params.yaml``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from stages.params.schema import fraction, positive


@dataclass(frozen=True)
class Optimiser:
    """AdamW, its rate multiplied by ``lr_decay`` every ``lr_decay_steps``."""

    learning_rate: float
    betas: list[float]
    weight_decay: float
    lr_decay: float
    lr_decay_steps: int

    def __post_init__(self) -> None:
        positive(self, "learning_rate", "lr_decay", "lr_decay_steps")


@dataclass(frozen=True)
class Loop:
    """A training loop: steps, batch, segment in samples, and how often it logs, validates and checkpoints (steps).

    ``batch_size`` is that of all ``processes`` together, which share each batch; ``workers`` load for one of them.
    """

    steps: int
    batch_size: int
    segment_samples: int
    log_every: int
    validate_every: int
    checkpoint_every: int
    workers: int
    precision: Literal["32-true", "bf16-mixed"]
    processes: int = 1

    def __post_init__(self) -> None:
        positive(self, "steps", "batch_size", "segment_samples", "log_every", "validate_every", "checkpoint_every")
        positive(self, "processes")
        if self.batch_size % self.processes:
            raise ValueError(f"batch_size {self.batch_size} does not divide among {self.processes} processes")


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
    duration: float = 1.0

    def __post_init__(self) -> None:
        positive(self, "floor")


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
    loss: GeneratorLoss
    optimiser: Optimiser
    loop: Loop
