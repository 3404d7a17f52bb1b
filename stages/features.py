"""Content features: the encoder over a corpus's audio.

In: ``data/<corpus>/audio`` and ``encoder/``. Out: ``data/<corpus>/features``, float16, one frame per 20 ms.
Utterances are encoded in batches of similar length, chosen within a shard; rows keep the corpus's order.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from speech.audio import decode_audio
from speech.shards import features_schema, read_shard, shard_paths, write_shard
from speech.units import num_frames
from stages.runtime.stage import Stage, stage_main

SAMPLE_RATE = 16_000
ENCODER = Path("encoder")


def run(stage: Stage) -> None:
    """Encode every shard in worker processes."""
    corpus = Path("data") / stage.require_variant(list(stage.params.corpora))
    job = stage.job([corpus / "audio", ENCODER], corpus / "features")
    work = functools.partial(
        encode_shard,
        encoder=ENCODER,
        device=stage.params.runtime.device,
        batch_samples=int(stage.params.features.batch_seconds * SAMPLE_RATE),
    )
    reports = job.run({path.name: path for path in shard_paths(corpus / "audio")}, work)
    stage.tracker.log_metrics({"features/frames": float(sum(report["frames"] for report in reports.values()))})
    job.publish()


def encode_shard(audio: Path, output: Path, encoder: Path, device: str, batch_samples: int) -> dict[str, int]:
    """Encode one shard of audio into one of features."""
    model, config, device = _load(encoder, device)
    rows = list(read_shard(audio, ["id", "speaker", "num_samples", "audio"]))
    features: list[np.ndarray] = [np.zeros(0)] * len(rows)
    for batch in batches([row["num_samples"] for row in rows], batch_samples):
        for index, frames in zip(batch, _encode(model, [rows[i] for i in batch], device), strict=True):
            features[index] = frames
    table = (
        {"id": row["id"], "speaker": row["speaker"], "num_frames": len(frames), "features": frames}
        for row, frames in zip(rows, features, strict=True)
    )
    meta = {"stage": "features", "hop": config["hop"], "sample_rate": SAMPLE_RATE, "encoder": config["hash"]}
    write_shard(output, table, features_schema(config["dim"]), meta)
    return {"frames": sum(map(len, features))}


def batches(lengths: Sequence[int], batch_samples: int) -> Iterator[list[int]]:
    """Indices grouped by length, longest first; a padded group holds at most ``batch_samples`` (or one utterance)."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if batch and (len(batch) + 1) * lengths[batch[0]] > batch_samples:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _encode(model: Any, rows: Sequence[dict[str, Any]], device: str) -> Iterator[np.ndarray]:
    import torch

    waves = [decode_audio(row["audio"]) for row in rows]
    padded = np.zeros((len(waves), max(map(len, waves))), dtype=np.float32)
    for index, wave in enumerate(waves):
        padded[index, : len(wave)] = wave
    lengths = torch.tensor([len(wave) for wave in waves])
    with torch.inference_mode():
        encoded = model(torch.from_numpy(padded).to(device), lengths).to("cpu", torch.float16).numpy()
    for row, wave, frames in zip(rows, waves, encoded, strict=True):
        count = num_frames(row["num_samples"])
        if count != num_frames(len(wave)) or count > len(frames):
            raise AssertionError(f"{row['id']}: {len(frames)} frames for {len(wave)} of {row['num_samples']} samples")
        yield frames[:count]


@functools.cache
def _load(directory: Path, device: str) -> tuple[Any, dict[str, Any], str]:
    """The encoder, once per worker process."""
    import torch

    from respeak.encoders import load_encoder, read_config

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    return load_encoder(directory).to(device), read_config(directory), device


if __name__ == "__main__":
    stage_main("features", run)
