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
from speech.judges.settings import ASR as ASR
from speech.judges.settings import Evaluate
from stages.params.digit_classifier import TrainDigitClassifier
from stages.params.schema import fraction, positive, read_section
from stages.params.softvc import FinetuneVocoder, SoftUnits, SoftVC, TrainAcoustic, TrainSoftUnits, TrainVocoder
from stages.params.training import Pretrain, TrainF0VQ, TrainResynthesis

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
        positive(self, "threads", "workers", "shard_minutes")
        fraction(self, "max_reject_fraction")


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
    """How recordings are conditioned and stored; see ``speech.audio.waveforms.Conditioning``."""

    codec: Literal["flac", "wav"]
    trim_db: float | None
    normalise_peak: float
    pad_multiple: int
    min_seconds: float
    max_seconds: float

    def __post_init__(self) -> None:
        positive(self, "normalise_peak", "pad_multiple", "min_seconds", "max_seconds")


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
        positive(self, "batch_seconds")
        fraction(self, "keep")


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


@dataclass(frozen=True)
class F0:
    """The F0 tracker and its range in Hz."""

    method: Literal["harvest", "dio", "yaapt"]
    floor_hz: float
    ceil_hz: float

    def __post_init__(self) -> None:
        positive(self, "floor_hz")
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
class UnitQuality:
    """The gate on units: sizes of codebook, normalisations and signal features to compare, pairs per text."""

    k: list[int]
    normalise: list[Literal["none", "utterance", "speaker"]]
    baselines: list[Literal["mfcc", "logmel"]]
    pairs: int

    def __post_init__(self) -> None:
        positive(self, "pairs")


@dataclass(frozen=True)
class Experiment:
    """One thing synthesized and judged: a system's task on the test split.

    ``copy``: the recordings themselves. ``vocode``: a system's vocoder makes the recording of its own log-mel.
    ``source``: a corpus; empty: that in role source. ``units``: ``deduplicated`` ones last as long as the system thinks
    right, the melody stretched to fit. ``voices``: of the target corpus, those that the system was trained on or those
    that it was not. ``melody``: the utterance's own, or another one's; ``semitones`` higher, and ``span`` times as wide
    (0: flat).
    """

    system: str
    input: str
    task: Literal["copy", "vocode", "resynthesis", "conversion"]
    units: Literal["own", "shuffled", "deduplicated"]
    weights: Literal["trained", "untrained"]
    voices: Literal["seen", "unseen"] = "seen"
    melody: Literal["own", "other"] = "own"
    semitones: float = 0.0
    span: float = 1.0
    source: str = ""

    def __post_init__(self) -> None:
        if self.task != "conversion" and self.voices != "seen":
            raise ValueError(
                f"voices '{self.voices}' are those that a conversion is made to; the task is '{self.task}'"
            )
        if self.task in ("copy", "vocode") and (self.melody, self.semitones, self.span) != ("own", 0.0, 1.0):
            raise ValueError("a copy has its own melody: melody, semitones and span are for a system's tasks")
        if self.task in ("copy", "vocode") and self.units != "own":
            raise ValueError(f"task '{self.task}' needs no units: set them to own")
        if not self.span >= 0:
            raise ValueError(f"span must be at least 0, not {self.span}")


@dataclass(frozen=True)
class Synthesize:
    """How much of the test split is spoken."""

    max_utterances: int
    targets_per_utterance: int

    def __post_init__(self) -> None:
        positive(self, "max_utterances", "targets_per_utterance")


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
        positive(self, "sentences", "max_audio_mb")


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
    train_soft_units: TrainSoftUnits
    soft_units: SoftUnits
    train_acoustic: TrainAcoustic
    train_vocoder: TrainVocoder
    finetune_vocoder: FinetuneVocoder
    softvc: SoftVC
    train_digit_classifier: TrainDigitClassifier
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
        named = (self.train_acoustic, self.train_vocoder, self.finetune_vocoder, self.train_digit_classifier)
        for section in named:
            for variant in section.variants.values():
                if variant.corpus not in self.corpora:
                    known, kind = ", ".join(self.corpora), type(section).__name__
                    raise ValueError(f"a variant of {kind} names corpus '{variant.corpus}', but corpora has {known}")
        self._check_tables()
        self._check_experiments()

    def source_of(self, experiment: str) -> Path:
        """The folder of the corpus that an experiment speaks.

        Raises:
            UserError: there is no such corpus.
        """
        source = self.experiments[experiment].source or self.roles.source
        if source not in self.corpora:
            known = ", ".join(self.corpora)
            raise UserError(f"params.yaml: experiments.{experiment}.source names '{source}', but corpora has {known}")
        return Path("data") / source

    def _check_experiments(self) -> None:
        from stages.synthesis.contract import check_experiment

        for name, experiment in self.experiments.items():
            try:
                check_experiment(experiment)
            except UserError as error:
                raise ValueError(f"experiments.{name}: {error}") from None

    def _check_tables(self) -> None:
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
    try:
        return read_section(Params, raw, "")
    except UserError as error:
        raise UserError(f"{path.name}: {error}") from None
