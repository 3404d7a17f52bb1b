"""Content features: the encoder over a corpus's audio.

In: ``data/<corpus>/audio`` and ``encoder/``. Out: ``data/<corpus>/features``, float16, one frame per 20 ms: the
encoder's layer in column ``features``, each of ``features.extra_layers`` from the same pass in ``features_<layer>``.
Utterances are encoded in batches of similar length, chosen within a shard; rows keep the corpus's order. Below
``features.keep`` 1 the rows of the other utterances are there, without frames, and ``units`` reads the audio.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from speech.errors import UserError
from speech.rates import SAMPLE_RATE
from speech.storage.shards import features_schema, read_shard, shard_paths, write_shard
from speech.units import num_frames
from stages.data.extraction import COLUMNS, Extraction, is_kept
from stages.params.corpora import Corpus
from stages.params.features import Features
from stages.params.runtime import Common
from stages.runtime.stage import Stage, stage_main

ENCODER = Path("encoder")


@dataclass(frozen=True)
class Params(Common):
    """Sections of ``params.yaml`` that this stage reads."""

    corpora: Annotated[dict[str, Corpus], "their names alone, which are the variants"]
    features: Features


def run(stage: Stage[Params]) -> None:
    """Encode every shard in worker processes."""
    from respeak.encoders.encoder_files import read_config

    corpus, settings = Path("data") / stage.require_variant(list(stage.params.corpora)), stage.params.features
    config = read_config(ENCODER)
    layers = check_layers(settings.extra_layers, config)
    job = stage.job([corpus / "audio", ENCODER], corpus / "features")
    work = functools.partial(
        encode_shard,
        extraction=Extraction.of(settings, ENCODER, stage.params.runtime.device, layers),
        config=config,
        keep=settings.keep,
    )
    reports = job.run({path.name: path for path in shard_paths(corpus / "audio")}, work)
    stage.tracker.log_metrics({"features/frames": float(sum(report["frames"] for report in reports.values()))})
    job.publish()


def check_layers(extra: Sequence[int], config: dict[str, Any]) -> list[int]:
    """Return the layers to store beside the encoder's own.

    Raises:
        UserError: the encoder has no such layer.
    """
    for layer in extra:
        if not 1 <= layer <= config["num_layers"]:
            raise UserError(f"features.extra_layers: {config['kind']} has {config['num_layers']} layers, not {layer}")
    return [layer for layer in dict.fromkeys(extra) if layer != config["layer"]]


def encode_shard(
    audio: Path, output: Path, extraction: Extraction, config: dict[str, Any], keep: float = 1.0
) -> dict[str, int]:
    """Encode one shard of audio into one of features."""
    rows = list(read_shard(audio, COLUMNS))
    names = ["features", *(f"features_{layer}" for layer in extraction.extra_layers)]
    nothing = np.zeros((0, config["dim"]), np.float16)
    frames: list[list[np.ndarray]] = [[nothing] * len(names) for _ in rows]
    chosen = [index for index, row in enumerate(rows) if is_kept(row["id"], keep)]
    for index, encoded in extraction.encode([rows[i] for i in chosen]):
        frames[chosen[index]] = encoded
    table = (
        {
            "id": row["id"],
            "speaker": row["speaker"],
            "num_frames": num_frames(row["num_samples"]),
            **dict(zip(names, encoded, strict=True)),
        }
        for row, encoded in zip(rows, frames, strict=True)
    )
    meta = {"stage": "features", "hop": config["hop"], "sample_rate": SAMPLE_RATE, "encoder": config["hash"]}
    meta |= {"layer": config["layer"], "precision": extraction.precision}
    write_shard(output, table, features_schema(config["dim"], extraction.extra_layers), meta)
    return {"frames": sum(len(encoded[0]) for encoded in frames)}


if __name__ == "__main__":
    stage_main("features", run, Params)
