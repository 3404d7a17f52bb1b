"""List a corpus, or make it: adapter and root in, ``manifest.parquet`` and ``rejects.parquet`` out.

The variant is the corpus's name in params. Recordings stay where they are; only a corpus that is generated (the
demo's) has its recordings in the output.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from speech.corpora import download, how_to_get, prepare
from speech.errors import UserError
from speech.storage.manifest import check_rejects, manifest_rows, write_manifest
from stages.params.corpora import Corpus
from stages.params.runtime import Common
from stages.runtime.stage import Stage, stage_main


@dataclass(frozen=True)
class Params(Common):
    """Sections of ``params.yaml`` that this stage reads."""

    seed: int
    corpora: dict[str, Corpus]


def run(stage: Stage[Params]) -> None:
    """List or make one corpus."""
    params = stage.params
    name = stage.require_variant(list(params.corpora))
    corpus = params.corpora[name]
    output = Path("data") / name / "corpus"
    root = Path(corpus.root)
    if corpus.download:
        download(corpus.adapter, root, corpus.options)
    if not root.exists():
        advice = how_to_get(corpus.adapter, root, corpus.options)
        raise UserError(f"{root}: corpus folder not found; set corpora.{name}.root to where the corpus lies{advice}")

    # The recordings are no input of the fingerprint (they may be terabytes elsewhere): listing is quick, done anew.
    job = stage.job([], output)
    listing = prepare(corpus.adapter, root, job.parts, params.seed, corpus.options)
    rows, rejects = manifest_rows(listing)
    check_rejects(str(root), len(rows), rejects, params.runtime.max_reject_fraction)
    generated = listing.base == job.parts
    write_manifest(job.parts, output if generated else listing.base, rows, rejects)
    job.publish()

    splits = Counter(row["split"] for row in rows)
    stage.tracker.log_metrics(
        {
            "corpus/hours": sum(row["num_samples"] / row["sample_rate"] for row in rows) / 3600,
            "corpus/utterances": len(rows),
            "corpus/speakers": len({row["speaker"] for row in rows}),
            "corpus/rejects": len(rejects),
            **{f"corpus/{split}": splits[split] for split in ("train", "valid", "test")},
        }
    )


if __name__ == "__main__":
    stage_main("corpus", run, Params)
