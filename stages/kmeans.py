"""Unit codebook: k-means over the encoder corpus's training frames, streamed, or centres that others fitted.

In: ``data/<corpus>/features`` and the splits in ``data/<corpus>/audio``. Out: ``kmeans/`` (centroids, configuration).
Mini-batch k-means (Sculley 2010) from k-means++ centres (Arthur and Vassilvitskii 2007) of a random sample, as in
GSLM's recipe (Lakhotia et al. 2021), except that no more than the sample and a buffer of frames is ever in memory.
A GPU is used where there is one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from speech.errors import UserError
from speech.storage.files import atomic_path, write_text
from speech.storage.shards import shard_paths, zip_shards
from speech.units import FrameMoments, FrameNormalisation, FrameNormaliser, normaliser
from stages.params.corpora import Roles
from stages.params.kmeans import KMeans
from stages.params.runtime import Common
from stages.runtime.engine import pick_device
from stages.runtime.stage import Stage, stage_main

OUTPUT = Path("kmeans")
BUFFER_BATCHES = 4  # mini-batches mixed with each other, so that one is not all the voice of one speaker
# Centres used less than this share of the busiest are placed anew (scikit-learn's default), at the beginning of a pass
# and now and then in a long one, but for the last.
REVIVE_RATIO, REVIVE_BATCHES = 0.01, 50
RARE_SHARE = 0.1  # of the mean usage: below it a unit counts as rarely used


@dataclass(frozen=True)
class Frames:
    """The training frames of a corpus, normalised, read shard by shard; ``column`` is the layer's."""

    corpus: Path
    mode: FrameNormalisation
    speakers: dict[str, FrameNormaliser]
    column: str = "features"

    def utterances(self, order: np.ndarray | None = None) -> Iterator[np.ndarray]:
        """Yield frames ``(N, D)`` float32 of each training utterance, shards in ``order``."""
        shards = len(shard_paths(self.corpus / "features"))
        for row in train_rows(self.corpus, np.arange(shards) if order is None else order, self.column):
            if len(frames := row[self.column]):
                yield normaliser(self.mode, frames, self.speakers.get(row["speaker"]))(frames)


@dataclass(frozen=True)
class Params(Common):
    """Sections of ``params.yaml`` that this stage reads."""

    seed: int
    roles: Roles
    kmeans: KMeans


def run(stage: Stage[Params]) -> None:
    """Fit the centroids, or read them, and save them."""
    from respeak.encoders.encoder_files import read_config

    settings, seed = stage.params.kmeans, stage.params.seed
    encoder = read_config("encoder")
    config = {"k": settings.k, "dim": encoder["dim"], "normalise": settings.normalise, "encoder": encoder["hash"]}
    if settings.source != "fit":
        centroids, origin = bring(settings, encoder)
        save(OUTPUT, centroids, {**config, **origin})
        return
    corpus = Path("data") / stage.params.roles.encoder
    count, speakers = survey(corpus)
    check_size(settings, count, corpus)
    frames = Frames(corpus, settings.normalise, speakers if settings.normalise == "speaker" else {})
    centroids = fit(frames, count, settings, seed, stage.tracker, stage.params.runtime.device)
    save(OUTPUT, centroids, {**config, "source": "fit", "seed": seed, "frames": count})


def bring(settings: KMeans, encoder: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
    """Read centroids ``(K, D)`` of a file or a public source; return them and where they come from.

    Raises:
        UserError: unreadable, of another K or dimension, or known to be another encoder's.
    """
    from respeak.encoders.centres import read_centres
    from respeak.weights import locate
    from speech.fetching.downloads import file_sha256

    path = locate(settings.source, settings.path, settings.sha256, "kmeans")
    centroids, stated = read_centres(path)
    if len(centroids) != settings.k:
        raise UserError(f"kmeans.k: {settings.k}, but {path} holds {len(centroids)} centres")
    if centroids.shape[1] != encoder["dim"]:
        raise UserError(f"{path}: centres of {centroids.shape[1]} dimensions; the encoder has {encoder['dim']}")
    for key, expected in (("encoder", encoder["hash"]), ("normalise", settings.normalise)):
        if stated.get(key, expected) != expected:
            raise UserError(f"{path}: fitted with {key} {stated[key][:12]}; here it is {expected[:12]}")
    return centroids, {"source": settings.source, "sha256": file_sha256(path)}


def train_rows(corpus: Path, order: np.ndarray, column: str = "features") -> Iterator[dict[str, Any]]:
    """Yield feature rows of the training split, shards in ``order``."""
    features, audio = shard_paths(corpus / "features"), shard_paths(corpus / "audio")
    if len(features) != len(audio):
        raise UserError(f"{corpus}: {len(features)} shards of features but {len(audio)} of audio; run 'dvc repro'")
    for index in order:
        columns = (["id", "speaker", column], ["id", "split"])
        for row, source in zip_shards(features[index], audio[index], columns=columns):
            if source["split"] == "train":
                yield row


def survey(corpus: Path, column: str = "features") -> tuple[int, dict[str, FrameNormaliser]]:
    """Count the training frames and gather each speaker's mean and deviation over them."""
    moments: dict[str, FrameMoments] = {}
    for row in train_rows(corpus, np.arange(len(shard_paths(corpus / "features"))), column):
        features = row[column]
        moments.setdefault(row["speaker"], FrameMoments.empty(features.shape[1])).add(features)
    count = sum(sums.count for sums in moments.values())
    return count, {speaker: sums.normaliser() for speaker, sums in moments.items()}


def check_size(settings: KMeans, count: int, corpus: Path) -> None:
    """Refuse more units than frames to fit them on."""
    if settings.k > count:
        raise UserError(
            f"kmeans.k: {settings.k} units cannot be fitted on the {count} training frames of {corpus}; "
            "lower kmeans.k or add recordings to split 'train'"
        )
    if settings.init_frames < settings.k:
        raise UserError(f"kmeans.init_frames: {settings.init_frames} is below kmeans.k ({settings.k}); raise it")


def fit(frames: Frames, count: int, settings: KMeans, seed: int, tracker: Any, device: str = "cpu") -> np.ndarray:
    """Fit ``(K, D)`` float32 by mini-batch k-means; log inertia per frame, unused and rarely used centres per pass."""
    import torch

    from models.kmeans import MiniBatchKMeans, plus_plus

    device = pick_device(device)
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    start = torch.from_numpy(sample(frames, count, settings.init_frames, rng)).to(device)
    model = MiniBatchKMeans(plus_plus(start, settings.k, generator))
    shards = len(shard_paths(frames.corpus / "features"))
    for number in range(1, settings.passes + 1):
        inertia, usage = 0.0, torch.zeros(settings.k, dtype=torch.int64)
        batches = mini_batches(frames.utterances(rng.permutation(shards)), settings.batch_frames, rng)
        for index, batch in enumerate(batches):
            on_device = torch.from_numpy(batch).to(device)
            if number < settings.passes and number + index > 1 and index % REVIVE_BATCHES == 0:
                model.revive(on_device, REVIVE_RATIO, generator)
            labels, distances = model.update(on_device)
            inertia += distances
            usage += torch.bincount(labels, minlength=settings.k).cpu()
        report = {
            "kmeans/inertia": inertia / count,
            "kmeans/dead_centres": float((usage == 0).sum()),
            "kmeans/rare_centres": float((usage < RARE_SHARE * count / settings.k).sum()),
        }
        tracker.log_metrics(report, step=number)
    return model.centres.cpu().numpy()


def sample(frames: Frames, count: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw ``min(size, count)`` frames evenly without replacement, in one pass: ``(size, D)`` float32."""
    chosen = np.sort(rng.choice(count, size=min(size, count), replace=False))
    picked, seen = [], 0
    for utterance in frames.utterances():
        low, high = np.searchsorted(chosen, [seen, seen + len(utterance)])
        picked.append(utterance[chosen[low:high] - seen])
        seen += len(utterance)
    return np.concatenate(picked)


def mini_batches(utterances: Iterator[np.ndarray], size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield every frame once, mixed within a buffer of a few batches: ``(<= size, D)``."""
    held: list[np.ndarray] = []
    for utterance in utterances:
        held.append(utterance)
        if sum(map(len, held)) >= BUFFER_BATCHES * size:
            yield from _mixed(held, size, rng)
            held = []
    if held:
        yield from _mixed(held, size, rng)


def _mixed(held: list[np.ndarray], size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    buffer = np.concatenate(held)
    order = rng.permutation(len(buffer))
    for start in range(0, len(buffer), size):
        yield buffer[order[start : start + size]]


def save(directory: Path, centroids: np.ndarray, config: dict[str, Any]) -> None:
    """Write ``centroids.safetensors`` (tensor ``centroids``, ``(K, D)`` float32) and ``config.yaml``.

    The first states K, dimension, normalisation and the encoder's hash too, so that it can be handed on alone.
    """
    from safetensors.numpy import save_file

    from respeak.encoders.centres import STATED

    directory.mkdir(parents=True, exist_ok=True)
    with atomic_path(directory / "centroids.safetensors") as temporary:
        stated = {key: str(config[key]) for key in ("k", "dim", "normalise", "encoder")}
        # One entry: safetensors writes several in an order that changes from run to run.
        metadata = {STATED: json.dumps(stated, sort_keys=True)}
        save_file({"centroids": np.ascontiguousarray(centroids)}, temporary, metadata=metadata)
    write_text(directory / "config.yaml", yaml.safe_dump(config, sort_keys=True))


if __name__ == "__main__":
    stage_main("kmeans", run, Params)
