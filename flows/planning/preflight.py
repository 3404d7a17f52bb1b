"""The bytes that each stage leaves on disk, and whether all that a run needs is there before it begins.

DVC's cache and the working tree hold one copy where the disk knows reflinks or hard links, as most do.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from flows.graph import Graph
from flows.planning.corpus_sizes import Size, size_of
from respeak.weights import PUBLIC, cached
from speech.corpora import how_to_get
from speech.errors import UserError
from speech.fetching.downloads import describe_size
from stages.params.whole import Params, load_params

FLAC_BYTES, WAV_BYTES, UNIT_BYTES, F0_BYTES = 29_000, 32_000, 100, 800  # per second of audio
SPOKEN_BYTES = 44_100  # per second of the demo corpus as it is spoken
VECTOR_BYTES, ROW_BYTES, PAGE_BYTES = 1_100, 200, 100_000  # per recording, per row of a table, of a table
FRAMES_PER_SECOND = 50
TEST_SHARE = 0.1
SIGNAL_DIMS = {"mfcc": 39, "logmel": 80}


@dataclass(frozen=True)
class Scene:
    """The parameters, how large their corpora are, and what was tried on this machine."""

    root: Path
    params: Params
    tried: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def sizes(self) -> Mapping[str, Size | None]:
        """Of every corpus."""
        return {name: size_of(self.root, name, corpus) for name, corpus in self.params.corpora.items()}

    def seconds(self, corpus: str) -> float:
        """Of a corpus; 0 where it is not known."""
        size = self.sizes[corpus]
        return size.seconds if size else 0.0

    def utterances(self, corpus: str) -> int:
        """Of a corpus; 0 where it is not known."""
        size = self.sizes[corpus]
        return size.utterances if size else 0

    @property
    def encoder_options(self) -> Mapping[str, Any]:
        """Of the encoder, those that come with public weights among them."""
        encoder = self.params.encoder
        return {**(PUBLIC[encoder.weights].options if encoder.weights in PUBLIC else {}), **encoder.options}

    @property
    def dim(self) -> int:
        """Of the encoder's features."""
        return SIGNAL_DIMS.get(self.params.encoder.kind) or int(self.encoder_options.get("dim", 768))

    def spoken(self, experiment: str) -> tuple[float, int]:
        """Seconds and recordings that an experiment speaks."""
        params = self.params
        conversion = params.experiments[experiment].task == "conversion"
        times = params.synthesize.targets_per_utterance if conversion else 1
        source = params.source_of(experiment).name
        rows = self.utterances(source)
        count = times * min(params.synthesize.max_utterances, round(TEST_SHARE * rows))
        return count * self.seconds(source) / max(rows, 1), count

    def once(self, name: str, trial: Callable[[], Any]) -> Any:
        """What a trial on this machine says, tried once."""
        if name not in self.tried:
            self.tried[name] = trial()
        return self.tried[name]


def disk(scene: Scene, stage: str) -> float:
    """Bytes that a stage, ``units@demo``, leaves; without the weights that training makes."""
    name, _, variant = stage.partition("@")
    return _DISK[name](scene, variant) if name in _DISK else 0.0


def _corpus(scene: Scene, corpus: str) -> float:
    made = scene.params.corpora[corpus].adapter == "demo"
    return scene.utterances(corpus) * ROW_BYTES + (scene.seconds(corpus) * SPOKEN_BYTES if made else 0.0)


def _encoder(scene: Scene, _: str) -> float:
    weights = scene.params.encoder.weights
    return float(PUBLIC[weights].size) if weights in PUBLIC else 0.0


def _features(scene: Scene, corpus: str) -> float:
    features = scene.params.features
    width = scene.dim * (1 + len(features.extra_layers))
    return scene.seconds(corpus) * features.keep * FRAMES_PER_SECOND * width * 2


_DISK: Mapping[str, Callable[[Scene, str], float]] = {
    "corpus": _corpus,
    "audio": lambda s, corpus: s.seconds(corpus) * (FLAC_BYTES if s.params.audio.codec == "flac" else WAV_BYTES),
    "encoder": _encoder,
    "features": _features,
    "units": lambda s, corpus: s.seconds(corpus) * UNIT_BYTES,
    "soft_units": lambda s, corpus: s.seconds(corpus) * FRAMES_PER_SECOND * s.params.train_soft_units.label_dim * 2,
    "f0": lambda s, corpus: s.seconds(corpus) * F0_BYTES,
    "speakers": lambda s, corpus: s.utterances(corpus) * float(VECTOR_BYTES),
    "synthesize": lambda s, experiment: s.spoken(experiment)[0] * FLAC_BYTES,
    "evaluate": lambda s, experiment: s.spoken(experiment)[1] * float(ROW_BYTES),
    "tables": lambda s, _: float(PAGE_BYTES),
    "report": lambda s, _: 1e6 * s.params.report.max_audio_mb * 4 / 3,
}


def check(root: Path, graph: Graph) -> None:
    """Refuse a run that would end in the middle: for want of a corpus, of weights, or of disk.

    Raises:
        UserError: one line with everything that is missing.
    """
    path = root / "params.yaml"
    if not path.is_file():  # a graph of somebody's own
        return
    changed = [name for name, node in graph.items() if node.changed]
    problems = list(missing(Scene(root, load_params(path)), changed))
    if problems:
        raise UserError(f"nothing was started: {'; '.join(problems)}")


def missing(scene: Scene, stages: Iterable[str]) -> Iterable[str]:
    """What stages that would run lack, in words."""
    stages = list(stages)
    for stage in stages:
        name, _, variant = stage.partition("@")
        if name == "corpus":
            yield from _missing_corpus(scene, variant)
    encoder, kmeans = scene.params.encoder, scene.params.kmeans
    if "encoder" in stages and encoder.weights not in ("none", "random"):
        yield from _missing_weights("encoder", "weights", encoder.weights, encoder)
    if "kmeans" in stages and kmeans.source != "fit":
        yield from _missing_weights("kmeans", "source", kmeans.source, kmeans)
    needed, free = sum(disk(scene, stage) for stage in stages), shutil.disk_usage(scene.root).free
    if needed > free:
        yield f"{describe_size(round(needed))} of disk are needed, {describe_size(free)} are free in {scene.root}"


def _missing_corpus(scene: Scene, name: str) -> Iterable[str]:
    corpus = scene.params.corpora[name]
    root = scene.root / corpus.root
    if not corpus.download and not root.exists():
        advice = how_to_get(corpus.adapter, Path(corpus.root), corpus.options)
        yield f"corpora.{name}.root: {corpus.root} not found; set it to where the corpus lies{advice}"


def _missing_weights(section: str, key: str, source: str, settings: Any) -> Iterable[str]:
    if source == "file":
        made = settings.path.startswith("pretrain/")  # by a stage of the same graph
        if not made and not Path(settings.path).exists():
            yield f"{section}.path: {settings.path} not found"
        return
    known = PUBLIC.get(source)
    if known is None and not source.startswith(("http://", "https://")):
        yield f"{section}.{key}: {source!r} is not 'file', an address, or one of {', '.join(PUBLIC)}"
    elif not settings.sha256:
        url, size = (known.url, known.size) if known else (source, None)
        state = "is here" if cached(url).is_file() else f"is not here ({url}, {describe_size(size)})"
        yield f"{section}.sha256 is not set, and {source} {state}: give the digest that you trust"
