"""Speaker embeddings: one d-vector per utterance.

In: ``data/<corpus>/audio``. Out: ``data/<corpus>/speakers``, 256-d float32 of unit length (Wan et al. 2018). The zeros
that pad a recording are left out: they say nothing of the speaker.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from speech.audio.waveforms import decode_audio
from speech.storage.shards import read_shard, shard_paths, speakers_schema, write_shard
from stages.params.corpora import Corpus
from stages.params.runtime import Common
from stages.params.speakers import Speakers
from stages.runtime.stage import Stage, stage_main


@dataclass(frozen=True)
class Params(Common):
    """Sections of ``params.yaml`` that this stage reads."""

    corpora: Annotated[dict[str, Corpus], "their names alone, which are the variants"]
    speakers: Speakers


def run(stage: Stage[Params]) -> None:
    """Embed every shard in worker processes."""
    corpus = Path("data") / stage.require_variant(list(stage.params.corpora))
    job = stage.job([corpus / "audio"], corpus / "speakers")
    reports = job.run({path.name: path for path in shard_paths(corpus / "audio")}, embed_shard).values()
    stage.tracker.log_metrics({"speakers/utterances": float(sum(report["utterances"] for report in reports))})
    job.publish()


def embed_shard(audio: Path, output: Path) -> dict[str, int]:
    """Write one shard of d-vectors."""
    from speech.dvectors import DIM, embed

    rows = []
    for row in read_shard(audio, ["id", "speaker", "num_speech", "audio"]):
        speech = decode_audio(row["audio"])[: row["num_speech"]]
        rows.append({"id": row["id"], "speaker": row["speaker"], "embedding": embed(speech)})
    write_shard(output, rows, speakers_schema(DIM), {"stage": "speakers", "method": "resemblyzer"})
    return {"utterances": len(rows)}


if __name__ == "__main__":
    stage_main("speakers", run, Params)
