"""The schema of ``params.yaml``: every knob, its type and the values that make sense.

Plain dataclasses and a strict reader, so that a stage starts fast and the training stages run where only
torch, lightning and pyarrow are installed. Comments with units and reasons live beside the values in ``conf/``.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from speech.errors import UserError
from stages.runtime.schema import read_section

TABLE_SLOTS = 8


@dataclass(frozen=True)
class Runtime:
    """How work is run: threads and workers within the cores, the device, shard length (minutes of audio).

    ``cluster``: address of a Dask scheduler that shard work goes to, or null for this machine's own processes.
    """

    threads: int
    workers: int
    device: Literal["auto", "cpu", "cuda"]
    shard_minutes: float
    max_reject_fraction: float
    cluster: str | None = None

    def __post_init__(self) -> None:
        _positive(self, "threads", "workers", "shard_minutes")
        _fraction(self, "max_reject_fraction")


@dataclass(frozen=True)
class Roles:
    """Which corpus trains encoder and k-means, which the systems, whose voices are targets, what is converted."""

    encoder: str
    train: str
    target: str
    source: str


@dataclass(frozen=True)
class Corpus:
    """An adapter of ``speech.corpora``, the folder it reads, its options, and whether to fetch what is not there."""

    adapter: str
    root: str
    options: dict[str, Any] = field(default_factory=dict)
    download: bool = False


@dataclass(frozen=True)
class Audio:
    """How recordings are conditioned and stored; see ``speech.audio.Conditioning``."""

    codec: Literal["flac", "wav"]
    trim_db: float | None
    normalise_peak: float
    pad_multiple: int
    min_seconds: float
    max_seconds: float

    def __post_init__(self) -> None:
        _positive(self, "normalise_peak", "pad_multiple", "min_seconds", "max_seconds")


@dataclass(frozen=True)
class Encoder:
    """The content encoder: kind, weights (``none``, ``random``, ``file``, a public name or address), layer, options."""

    kind: Literal["mfcc", "logmel", "hubert", "wav2vec2"]
    weights: str
    path: str
    sha256: str | None
    layer: int
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Features:
    """Extraction: seconds of audio per batch, precision, layers kept beside the encoder's, share of frames stored."""

    batch_seconds: float
    precision: Literal["float32", "bfloat16"]
    extra_layers: list[int]
    keep: float

    def __post_init__(self) -> None:
        _positive(self, "batch_seconds")
        _fraction(self, "keep")


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
        _positive(self, "batch_frames", "init_frames", "passes")
        if not 2 <= self.k <= 65535:
            raise ValueError(f"k must be between 2 and 65535 (units are stored as uint16), not {self.k}")


@dataclass(frozen=True)
class F0:
    """The F0 tracker and its range in Hz."""

    method: Literal["harvest", "dio"]
    floor_hz: float
    ceil_hz: float

    def __post_init__(self) -> None:
        _positive(self, "floor_hz")
        if not self.floor_hz < self.ceil_hz:
            raise ValueError(f"floor_hz ({self.floor_hz}) must be below ceil_hz ({self.ceil_hz})")


@dataclass(frozen=True)
class F0Stats:
    """Fewest voiced frames (5 ms) that make a speaker's own statistics."""

    min_voiced_frames: int


@dataclass(frozen=True)
class Speakers:
    """The judge that makes d-vectors."""

    method: Literal["resemblyzer"]


@dataclass(frozen=True)
class Optimiser:
    """AdamW, its rate multiplied by ``lr_decay`` every ``lr_decay_steps``."""

    learning_rate: float
    betas: list[float]
    weight_decay: float
    lr_decay: float
    lr_decay_steps: int

    def __post_init__(self) -> None:
        _positive(self, "learning_rate", "lr_decay", "lr_decay_steps")


@dataclass(frozen=True)
class Loop:
    """A training loop: steps, batch, segment in samples, and how often it logs, validates and checkpoints (steps)."""

    steps: int
    batch_size: int
    segment_samples: int
    log_every: int
    validate_every: int
    checkpoint_every: int
    workers: int
    precision: Literal["32-true", "bf16-mixed"]

    def __post_init__(self) -> None:
        _positive(self, "steps", "batch_size", "segment_samples", "log_every", "validate_every", "checkpoint_every")


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
        _positive(self, "steps")
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
        _positive(self, "batch_frames", "init_frames", "passes", "keep")
        _fraction(self, "keep")
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
        _positive(self, "mask_span", "label_dim", "temperature")
        _fraction(self, "mask_starts", "warmup")


@dataclass(frozen=True)
class UnitQuality:
    """The gate on units: sizes of codebook, normalisations and signal features to compare, pairs per text."""

    k: list[int]
    normalise: list[Literal["none", "utterance", "speaker"]]
    baselines: list[Literal["mfcc", "logmel"]]
    pairs: int

    def __post_init__(self) -> None:
        _positive(self, "pairs")


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

    def __post_init__(self) -> None:
        _positive(self, "floor")


@dataclass(frozen=True)
class TrainResynthesis:
    """Training of the unit HiFi-GAN."""

    use_f0: bool
    adversarial_from_step: int
    generator: GeneratorModel
    discriminator: DiscriminatorModel
    loss: GeneratorLoss
    optimiser: Optimiser
    loop: Loop


@dataclass(frozen=True)
class Experiment:
    """One thing spoken and judged: a system's task on the test split, or the recordings themselves."""

    system: str
    input: str
    task: Literal["copy", "resynthesis", "conversion"]
    units: Literal["own", "shuffled"]
    weights: Literal["trained", "untrained"]

    def __post_init__(self) -> None:
        if (self.system == "none") != (self.task == "copy"):
            raise ValueError("task 'copy' (ground truth) is the one without a system: use system 'none' with it alone")


@dataclass(frozen=True)
class Synthesize:
    """How much of the test split is spoken."""

    max_utterances: int
    targets_per_utterance: int

    def __post_init__(self) -> None:
        _positive(self, "max_utterances", "targets_per_utterance")


@dataclass(frozen=True)
class ASR:
    """The speech recogniser and the language it may hear."""

    judge: Literal["pocketsphinx"]
    mode: Literal["open", "words", "sentences"]


@dataclass(frozen=True)
class Evaluate:
    """The judges."""

    asr: ASR
    speaker_judge: Literal["resemblyzer"]
    speaker_seconds: float
    f0_tolerance: float
    bootstrap: int

    def __post_init__(self) -> None:
        _positive(self, "speaker_seconds", "f0_tolerance", "bootstrap")


@dataclass(frozen=True)
class Table:
    """The experiments that are run for a table of ``stages.papers.registry``; a name may be repeated.

    There are always ``TABLE_SLOTS`` of them: dvc.yaml names each as an input by its place, for DVC's templates know
    no lists of any length.
    """

    experiments: list[str]

    def __post_init__(self) -> None:
        if len(self.experiments) != TABLE_SLOTS:
            found = len(self.experiments)
            raise ValueError(f"experiments must have {TABLE_SLOTS} names, not {found}; repeat the last to fill up")


@dataclass(frozen=True)
class Report:
    """The page: how many sentences can be heard, and the most megabytes of audio it may hold."""

    sentences: int
    max_audio_mb: float

    def __post_init__(self) -> None:
        _positive(self, "sentences", "max_audio_mb")


@dataclass(frozen=True)
class Params:
    """The whole of ``params.yaml``; a stage reads its own section, ``seed``, ``runtime`` and what dvc.yaml names."""

    scale: str
    seed: int
    runtime: Runtime
    roles: Roles
    corpora: dict[str, Corpus]
    audio: Audio
    encoder: Encoder
    features: Features
    kmeans: KMeans
    pretrain: Pretrain
    unit_quality: UnitQuality
    f0: F0
    f0_stats: F0Stats
    speakers: Speakers
    train_f0_vq: TrainF0VQ
    train_resynthesis: TrainResynthesis
    experiments: dict[str, Experiment]
    synthesize: Synthesize
    evaluate: Evaluate
    tables: dict[str, Table]
    report: Report

    def __post_init__(self) -> None:
        if self.features.keep < 1 and self.kmeans.normalise == "speaker":
            raise ValueError(
                f"features.keep {self.features.keep} stores too few frames for a speaker's mean over all of their "
                "recordings; set kmeans.normalise to none or utterance, or features.keep to 1"
            )
        if self.features.keep == 0 and self.kmeans.source == "fit":
            raise ValueError("features.keep 0 leaves kmeans nothing to fit; raise it, or set kmeans.source")
        for role, name in dataclasses.asdict(self.roles).items():
            if name not in self.corpora:
                raise ValueError(f"roles.{role} names corpus '{name}', but corpora has {', '.join(self.corpora)}")
        for table, spec in self.tables.items():
            for name in spec.experiments:
                if name not in self.experiments:
                    raise ValueError(f"tables.{table} names experiment '{name}', which experiments lacks")


def load_params(path: Path | str = "params.yaml") -> Params:
    """Read and check ``params.yaml``.

    Raises:
        UserError: the file is missing, or a key is unknown, missing, of the wrong type or impossible; names the key.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: not found; run from the project's root")
    try:
        raw = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    return read_section(Params, raw, path.name)


def _positive(section: object, *names: str) -> None:
    for name in names:
        if not getattr(section, name) > 0:
            raise ValueError(f"{name} must be above 0, not {getattr(section, name)}")


def _fraction(section: object, *names: str) -> None:
    for name in names:
        if not 0 <= getattr(section, name) <= 1:
            raise ValueError(f"{name} must lie in 0..1, not {getattr(section, name)}")
