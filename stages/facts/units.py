"""Facts of the stages from the content encoder to its units: ``encoder``, ``features``, ``kmeans``, ``units``, more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.facts.facts import PROCESS_BYTES, Facts, on_gpu
from stages.facts.trials import SpeedTrial

if TYPE_CHECKING:
    from stages.facts.scene import Scene

FRAMES_PER_SECOND = 50
UNIT_BYTES = 100  # per second of audio
KMEANS_RATE = 5e10  # frames times dimensions times centres per processor-second
TRAIN_SHARE = 0.8
SIGNAL_DIMS = {"mfcc": 39, "logmel": 80}
SAMPLE_RATE = 16_000


def encoder_options(scene: Scene) -> Mapping[str, Any]:
    """Return the encoder's options, those that come with public weights among them."""
    from respeak.weights import PUBLIC

    encoder = scene.params.encoder
    return {**(PUBLIC[encoder.weights].options if encoder.weights in PUBLIC else {}), **encoder.options}


def feature_dim(scene: Scene) -> int:
    """Return how many numbers a frame of the encoder has."""
    return SIGNAL_DIMS.get(scene.params.encoder.kind) or int(encoder_options(scene).get("dim", 768))


def encoder_trial(scene: Scene) -> SpeedTrial:
    """Return the trial of the encoder in use, on a batch as ``features`` makes them."""
    encoder, seconds = scene.params.encoder, scene.params.features.batch_seconds
    options = encoder_options(scene)

    def prepare(device: str) -> Callable[[], Any]:
        import torch

        from models.encoders import build_encoder

        spec = {"kind": encoder.kind, "layer": encoder.layer, "options": dict(options)}
        network = build_encoder(spec).eval().to(device).prepare()
        wave = 0.1 * torch.randn(1, int(seconds * SAMPLE_RATE), device=device)
        return lambda: network(wave)

    return SpeedTrial("encoder", seconds, prepare)


def encoding_work(scene: Scene, corpus: str) -> float:
    """Return the processor-seconds of encoding all of a corpus."""
    return scene.seconds(corpus) / scene.speed(encoder_trial(scene))


def _features_disk(scene: Scene, corpus: str) -> float:
    features = scene.params.features
    width = feature_dim(scene) * (1 + len(features.extra_layers))
    return scene.seconds(corpus) * features.keep * FRAMES_PER_SECOND * width * 2


def _encoder_disk(scene: Scene, _: str) -> float:
    from respeak.weights import PUBLIC

    weights = scene.params.encoder.weights
    return float(PUBLIC[weights].size) if weights in PUBLIC else 0.0


def _kmeans_work(scene: Scene, _: str) -> float:
    settings = scene.params.kmeans
    if settings.source != "fit":
        return 0.0
    seconds = scene.seconds(scene.params.roles.encoder) * scene.params.features.keep
    frames = TRAIN_SHARE * seconds * FRAMES_PER_SECOND * settings.passes
    return frames * settings.k * feature_dim(scene) / KMEANS_RATE


def _kmeans_memory(scene: Scene, _: str) -> float:
    settings = scene.params.kmeans
    if settings.source != "fit":
        return PROCESS_BYTES
    return PROCESS_BYTES + 4.0 * feature_dim(scene) * (settings.init_frames + 5 * settings.batch_frames)


def _units_work(scene: Scene, corpus: str) -> float:
    if scene.params.features.keep < 1:
        return encoding_work(scene, corpus)
    frames = scene.seconds(corpus) * FRAMES_PER_SECOND
    return frames * scene.params.kmeans.k * feature_dim(scene) / KMEANS_RATE


def _unit_quality_work(scene: Scene, _: str) -> float:
    spec = scene.params.unit_quality
    fits = len(spec.normalise) * (1 + len(spec.baselines)) * sum(spec.k) / scene.params.kmeans.k
    return fits * _kmeans_work(scene, "")


def _missing_encoder(scene: Scene, _: str) -> Iterable[str]:
    encoder = scene.params.encoder
    if encoder.weights not in ("none", "random"):
        yield from _missing_weights("encoder", "weights", encoder.weights, encoder)


def _missing_centres(scene: Scene, _: str) -> Iterable[str]:
    kmeans = scene.params.kmeans
    if kmeans.source != "fit":
        yield from _missing_weights("kmeans", "source", kmeans.source, kmeans)


def _missing_weights(section: str, key: str, source: str, settings: Any) -> Iterable[str]:
    from respeak.weights import PUBLIC, cached
    from speech.fetching.downloads import describe_size

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


STAGES = {
    "encoder": Facts(disk=_encoder_disk, missing=_missing_encoder),
    "features": Facts(
        wants_gpu=on_gpu,
        work=lambda scene, corpus: scene.params.features.keep * encoding_work(scene, corpus),
        memory=lambda scene, corpus: 3 * PROCESS_BYTES,
        disk=_features_disk,
    ),
    "kmeans": Facts(wants_gpu=on_gpu, work=_kmeans_work, memory=_kmeans_memory, missing=_missing_centres),
    "units": Facts(wants_gpu=on_gpu, work=_units_work, disk=lambda scene, corpus: scene.seconds(corpus) * UNIT_BYTES),
    "unit_quality": Facts(wants_gpu=on_gpu, work=_unit_quality_work, memory=_kmeans_memory),
}
