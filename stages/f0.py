"""Fundamental frequency of a corpus.

In: ``data/<corpus>/audio``. Out: ``data/<corpus>/f0``: float32 Hz, 0 where unvoiced, one value per 80 samples (5 ms).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from speech.audio.waveforms import decode_audio
from speech.pitch import extract_f0, num_f0_frames
from speech.rates import F0_HOP
from speech.storage.shards import F0 as F0_COLUMNS
from speech.storage.shards import read_shard, shard_paths, write_shard
from stages.params.corpora import Corpus
from stages.params.f0 import F0
from stages.params.runtime import Common
from stages.runtime.stage import Stage, stage_main


@dataclass(frozen=True)
class Params(Common):
    """Sections of ``params.yaml`` that this stage reads."""

    corpora: Annotated[dict[str, Corpus], "their names alone, which are the variants"]
    f0: F0


def run(stage: Stage[Params]) -> None:
    """Track F0 of every shard in worker processes."""
    corpus = Path("data") / stage.require_variant(list(stage.params.corpora))
    job = stage.job([corpus / "audio"], corpus / "f0")
    work = functools.partial(track_shard, settings=stage.params.f0)
    reports = job.run({path.name: path for path in shard_paths(corpus / "audio")}, work).values()
    frames, voiced = sum(r["frames"] for r in reports), sum(r["voiced"] for r in reports)
    unvoiced = sum(r["unvoiced_utterances"] for r in reports)
    shares = {"f0/voiced_share": voiced / max(frames, 1), "f0/unvoiced_utterances": float(unvoiced)}
    stage.tracker.log_metrics(shares)
    job.publish()


def track_shard(audio: Path, output: Path, settings: F0) -> dict[str, int]:
    """Write one shard of F0; reports frames, voiced frames and utterances without any."""
    report = {"frames": 0, "voiced": 0, "unvoiced_utterances": 0}
    rows = []
    for row in read_shard(audio, ["id", "num_samples", "audio"]):
        f0 = extract_f0(decode_audio(row["audio"]), settings.method, settings.floor_hz, settings.ceil_hz)
        if len(f0) != num_f0_frames(row["num_samples"]):
            raise AssertionError(f"{row['id']}: {len(f0)} F0 frames for {row['num_samples']} samples")
        voiced = int((f0 > 0).sum())
        report["frames"] += len(f0)
        report["voiced"] += voiced
        report["unvoiced_utterances"] += voiced == 0
        rows.append({"id": row["id"], "f0": f0})
    write_shard(output, rows, F0_COLUMNS, {"stage": "f0", "method": settings.method, "hop": F0_HOP})
    return report


if __name__ == "__main__":
    stage_main("f0", run, Params)
