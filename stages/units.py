"""Discrete units: each frame's nearest centroid.

In: ``data/<corpus>/features``, ``data/<corpus>/audio`` (lengths) and ``kmeans/``. Out: ``data/<corpus>/units``, uint16,
exactly ``num_samples // 320`` per utterance. With ``kmeans.normalise: speaker`` the mean and deviation taken out are
those of all of a speaker's recordings in this corpus; ``frame_stats.safetensors`` beside the shards keeps them,
``(2, D)`` float32 by speaker, for systems that are to hear these speakers again.

Where ``features.keep`` left frames out, the audio goes through ``encoder/`` here, and frames live for a batch only.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import yaml

from speech.errors import UserError
from speech.rates import UNIT_HOP
from speech.storage.files import atomic_path
from speech.storage.shards import UNITS, read_rows, read_shard, shard_meta, shard_paths, write_shard, zip_shards
from speech.units import (
    FrameMoments,
    FrameNormalisation,
    FrameNormaliser,
    assign,
    normaliser,
    num_frames,
    perplexity,
    run_lengths,
)
from stages.data.extraction import COLUMNS, Extraction
from stages.params.corpora import Corpus
from stages.params.features import Features
from stages.params.runtime import Common
from stages.runtime.stage import Stage, stage_main

ENCODER = Path("encoder")
KMEANS = Path("kmeans")


@dataclass(frozen=True)
class Params(Common):
    """Sections of ``params.yaml`` that this stage reads."""

    corpora: Annotated[dict[str, Corpus], "their names alone, which are the variants"]
    features: Annotated[Features, "through data/<corpus>/features, which lacks the frames that it left out"]


def run(stage: Stage[Params]) -> None:
    """Quantise every shard in worker processes; log how many units are in use and how long they last."""
    corpus = Path("data") / stage.require_variant(list(stage.params.corpora))
    centroids, config = load_kmeans(KMEANS)
    features = shard_paths(corpus / "features")
    check_encoder(features[0], config)
    speakers = speaker_normalisers(corpus / "features") if config["normalise"] == "speaker" else {}
    job = stage.job([corpus / "features", corpus / "audio", KMEANS, ENCODER], corpus / "units")
    if stage.params.features.keep < 1:
        extraction = Extraction.of(stage.params.features, ENCODER, stage.params.runtime.device)
        work = functools.partial(encode_shard, extraction=extraction, centroids=centroids, mode=config["normalise"])
        tasks: dict[str, Any] = {path.name: corpus / "audio" / path.name for path in features}
    else:
        work = functools.partial(quantise_shard, centroids=centroids, mode=config["normalise"])
        tasks = {path.name: (path, corpus / "audio" / path.name, _of_shard(path, speakers)) for path in features}
    reports = job.run(tasks, work).values()
    if speakers:
        save_statistics(job.parts / "frame_stats.safetensors", speakers)
    usage = np.sum([report["usage"] for report in reports], axis=0)
    stage.tracker.log_metrics(
        {
            "units/perplexity": perplexity(usage),
            "units/used": float((usage > 0).sum()),
            "units/mean_run_frames": float(usage.sum()) / max(sum(report["runs"] for report in reports), 1),
        }
    )
    job.publish()


def load_kmeans(directory: Path) -> tuple[np.ndarray, dict[str, Any]]:
    """Load centroids ``(K, D)`` float32 and their configuration.

    Raises:
        UserError: a file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        centroids = load_file(directory / "centroids.safetensors")["centroids"]
        config = yaml.safe_load((directory / "config.yaml").read_text(encoding="utf-8"))
        missing = [key for key in ("k", "dim", "normalise", "encoder") if key not in config]
    except FileNotFoundError as error:
        raise UserError(f"{error.filename or directory}: not found; run the stage 'kmeans' first") from None
    except (SafetensorError, KeyError, TypeError, yaml.YAMLError) as error:
        raise UserError(f"{directory}: damaged centroids or configuration ({error}); make them again") from None
    if missing or centroids.shape != (config["k"], config["dim"]):
        raise UserError(f"{directory}: configuration does not describe the centroids; run the stage 'kmeans' again")
    return centroids, config


def check_encoder(features: Path, config: dict[str, Any]) -> None:
    """Refuse features of another encoder than the centroids were fitted on: dimensions may agree by chance."""
    found = shard_meta(features).get("encoder")
    if found != config["encoder"]:
        raise UserError(
            f"{features}: made by encoder {str(found)[:12]}, the centroids by {config['encoder'][:12]}; run 'dvc repro'"
        )


def speaker_normalisers(features: Path, column: str = "features") -> dict[str, FrameNormaliser]:
    """Return each speaker's mean and deviation over all recordings of the corpus, in one streaming pass."""
    moments: dict[str, FrameMoments] = {}
    for row in read_rows(features, ["speaker", column]):
        moments.setdefault(row["speaker"], FrameMoments.empty(row[column].shape[1])).add(row[column])
    return {speaker: sums.normaliser() for speaker, sums in moments.items()}


def save_statistics(path: Path, speakers: dict[str, FrameNormaliser]) -> None:
    """Write each speaker's mean and deviation as one tensor ``(2, D)`` float32 named after the speaker."""
    from safetensors.numpy import save_file

    with atomic_path(path) as temporary:
        save_file({name: np.stack([one.mean, one.std]) for name, one in speakers.items()}, temporary)


def _of_shard(path: Path, speakers: dict[str, FrameNormaliser]) -> dict[str, FrameNormaliser]:
    """Return those speakers that a shard holds: a large corpus has thousands, a shard a few."""
    if not speakers:
        return {}
    return {name: speakers[name] for name in sorted({row["speaker"] for row in read_shard(path, ["speaker"])})}


def quantise_shard(
    task: tuple[Path, Path, dict[str, FrameNormaliser]], output: Path, centroids: np.ndarray, mode: Any
) -> dict[str, Any]:
    """Write one shard of units; report usage per unit and the number of runs."""
    features, audio, speakers = task
    columns = (["id", "speaker", "features"], ["id", "num_samples"])
    rows = []
    for row, source in zip_shards(features, audio, columns=columns):
        frames = row["features"]
        units = assign(normaliser(mode, frames, speakers.get(row["speaker"]))(frames), centroids)
        if len(units) != num_frames(source["num_samples"]):
            raise AssertionError(f"{row['id']}: {len(units)} units for {source['num_samples']} samples")
        rows.append({"id": row["id"], "units": units})
    return _write(output, rows, len(centroids))


def encode_shard(
    audio: Path, output: Path, extraction: Extraction, centroids: np.ndarray, mode: FrameNormalisation
) -> dict[str, Any]:
    """Write one shard of units straight from its audio; report as `quantise_shard` does."""
    sources = list(read_shard(audio, COLUMNS))
    rows: list[dict[str, Any]] = [{"id": source["id"]} for source in sources]
    for index, (frames,) in extraction.encode(sources):
        rows[index]["units"] = assign(normaliser(mode, frames)(frames), centroids)
    return _write(output, rows, len(centroids))


def _write(output: Path, rows: list[dict[str, Any]], k: int) -> dict[str, Any]:
    usage, runs = np.zeros(k, dtype=np.int64), 0
    for row in rows:
        usage += np.bincount(row["units"], minlength=k)
        runs += len(run_lengths(row["units"])[0])
    write_shard(output, rows, UNITS, {"stage": "units", "k": k, "hop": UNIT_HOP})
    return {"usage": usage.tolist(), "runs": runs}


if __name__ == "__main__":
    stage_main("units", run, Params)
