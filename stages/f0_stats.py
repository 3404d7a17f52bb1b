"""F0 statistics of each speaker, by name: what F0 is normalised with, and what conversion moves it to.

In: ``data/<corpus>/f0`` and the speakers and splits in ``data/<corpus>/audio``. Out: ``data/<corpus>/f0_stats.json``:
``{speaker: {"hz": {"mean", "std"}, "log": {"mean", "std"}, "voiced_frames", "pooled"}}``, over voiced frames of the
training split; speakers without training utterances use all they have. Speakers with too few voiced frames get the
corpus's pooled values, marked ``"pooled": true`` and named in the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from speech.errors import UserError
from speech.pitch import VoicedSums
from speech.storage.files import write_json
from speech.storage.shards import shard_paths, zip_shards
from stages.params.corpora import Corpus
from stages.params.f0 import F0Stats
from stages.params.runtime import Common
from stages.runtime.stage import Stage, stage_main


@dataclass(frozen=True)
class Params(Common):
    """Sections of ``params.yaml`` that this stage reads."""

    corpora: Annotated[dict[str, Corpus], "their names alone, which are the variants"]
    f0_stats: F0Stats


def run(stage: Stage[Params]) -> None:
    """Write the statistics and a figure of each speaker's range."""
    corpus = Path("data") / stage.require_variant(list(stage.params.corpora))
    stats = speaker_statistics(gather(corpus), stage.params.f0_stats.min_voiced_frames, corpus)
    pooled = [name for name, entry in stats.items() if entry["pooled"]]
    if pooled:
        print(f"f0_stats: pooled statistics of {corpus} for speakers with too few voiced frames: {', '.join(pooled)}")
    write_json(corpus / "f0_stats.json", stats)
    stage.tracker.log_metrics({"f0_stats/speakers": float(len(stats)), "f0_stats/pooled": float(len(pooled))})
    stage.tracker.log_artifact(corpus / "f0_stats.json")
    stage.tracker.log_figure("f0_by_speaker.png", figure(stats))


def gather(corpus: Path) -> dict[str, VoicedSums]:
    """Sums over each speaker's voiced frames, of the training split or, for speakers without one, of all."""
    train: dict[str, VoicedSums] = {}
    everything: dict[str, VoicedSums] = {}
    has_train: set[str] = set()
    for f0, audio in zip(shard_paths(corpus / "f0"), shard_paths(corpus / "audio"), strict=True):
        for row, source in zip_shards(f0, audio, columns=(["id", "f0"], ["id", "speaker", "split"])):
            speaker = source["speaker"]
            everything.setdefault(speaker, VoicedSums()).add(row["f0"])
            if source["split"] == "train":
                has_train.add(speaker)
                train.setdefault(speaker, VoicedSums()).add(row["f0"])
    return {speaker: (train if speaker in has_train else everything)[speaker] for speaker in sorted(everything)}


def speaker_statistics(sums: Mapping[str, VoicedSums], min_voiced_frames: int, corpus: Path) -> dict[str, Any]:
    """Entries by speaker; those below ``min_voiced_frames`` get the pooled values.

    Raises:
        UserError: the whole corpus has no voiced frame.
    """
    pool = VoicedSums()
    for one in sums.values():
        pool.merge(one)
    if not pool.frames:
        raise UserError(
            f"{corpus}: no voiced frame in any recording; is it speech, and do f0.floor_hz and ceil_hz fit it?"
        )
    stats: dict[str, Any] = {}
    for speaker, one in sums.items():
        few = one.frames < max(min_voiced_frames, 1)
        entry = (pool if few else one).statistics()
        stats[speaker] = {**entry, "voiced_frames": one.frames, "pooled": few}
    return stats


def figure(stats: Mapping[str, Any]) -> Any:
    """Mean and deviation of F0 by speaker, lowest voice first."""
    from matplotlib.figure import Figure

    speakers = sorted(stats, key=lambda name: (stats[name]["hz"]["mean"], name))
    picture = Figure(figsize=(6, 1 + 0.2 * len(speakers)), layout="constrained")
    axes = picture.subplots()
    means, deviations = ([stats[name]["hz"][key] for name in speakers] for key in ("mean", "std"))
    axes.errorbar(means, range(len(speakers)), xerr=deviations, fmt="o", capsize=3)
    axes.set_yticks(range(len(speakers)), speakers)
    axes.set_xlabel("F0 of voiced frames, mean ± deviation (Hz)")
    return picture


if __name__ == "__main__":
    stage_main("f0_stats", run, Params)
