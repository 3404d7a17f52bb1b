"""Soft units of a corpus: the features of an encoder that stage ``train_soft_units`` trained.

In: ``data/<corpus>/audio`` and that encoder. Out: ``data/<corpus>/soft_units``, shards like those of ``features``,
``(N, D)`` float16, one per 20 ms.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from speech.storage.shards import shard_paths
from stages.data.extraction import Extraction
from stages.features import encode_shard
from stages.params.features import Features
from stages.params.runtime import Common
from stages.params.softvc import SoftUnits
from stages.runtime.stage import Stage, stage_main


@dataclass(frozen=True)
class Params(Common):
    """Sections of ``params.yaml`` that this stage reads."""

    features: Features
    soft_units: SoftUnits


def run(stage: Stage[Params]) -> None:
    """Encode every shard in worker processes."""
    from respeak.encoders.encoder_files import read_config

    spec = stage.params.soft_units
    corpus, encoder = Path("data") / stage.require_variant(spec.corpora), Path(spec.encoder)
    job = stage.job([corpus / "audio", encoder], corpus / "soft_units")
    extraction = Extraction.of(stage.params.features, encoder, stage.params.runtime.device)
    work = functools.partial(encode_shard, extraction=extraction, config=read_config(encoder))
    reports = job.run({path.name: path for path in shard_paths(corpus / "audio")}, work)
    stage.tracker.log_metrics({"soft_units/frames": float(sum(report["frames"] for report in reports.values()))})
    job.publish()


if __name__ == "__main__":
    stage_main("soft_units", run, Params)
