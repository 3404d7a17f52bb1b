"""Condition a corpus's recordings: manifest in, shards of 16 kHz mono audio and ``rejects.parquet`` out.

Each recording is decoded in a process of its own, mixed to one channel, resampled, trimmed, peak-normalised and
padded to a multiple of ``audio.pad_multiple`` samples (Polyak et al. 2021, preprocessing). Shards hold about
``runtime.shard_minutes`` of consecutive utterances; one that cannot be used becomes a row of the rejects.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from speech.audio.containers import file_of
from speech.audio.decode import IsolatedDecoder
from speech.audio.waveforms import Conditioning, condition, encode_audio
from speech.errors import AudioError
from speech.rates import SAMPLE_RATE
from speech.storage.manifest import check_rejects, reject_row
from speech.storage.shards import AUDIO, REJECTS, read_shard, shard_meta, shard_name, write_shard
from stages.params.audio import Audio
from stages.params.corpora import Corpus
from stages.params.runtime import Common
from stages.runtime.stage import Stage, stage_main

Row = dict[str, Any]


@dataclass(frozen=True)
class Params(Common):
    """Sections of ``params.yaml`` that this stage reads."""

    corpora: Annotated[dict[str, Corpus], "their names alone, which are the variants"]
    audio: Audio


def run(stage: Stage[Params]) -> None:
    """Condition one corpus."""
    params = stage.params
    name = stage.require_variant(list(params.corpora))
    manifest = Path("data") / name / "corpus" / "manifest.parquet"
    root = Path(shard_meta(manifest)["root"])

    rows = list(read_shard(manifest))
    job = stage.job([manifest], Path("data") / name / "audio", [_state(root / row["path"]) for row in rows])
    shards = group_by_duration(rows, params.runtime.shard_minutes * 60)
    tasks = {shard_name(index): rows for index, rows in enumerate(shards)}
    work = functools.partial(condition_shard, root=root, audio=params.audio)
    reports = list(job.run(tasks, work, title=f"audio@{name}").values())

    rejects = [reject for report in reports for reject in report["rejects"]]
    num_kept = sum(report["utterances"] for report in reports)
    check_rejects(str(root), num_kept, rejects, params.runtime.max_reject_fraction)
    write_shard(job.parts / "rejects.parquet", rejects, REJECTS, {"stage": "audio"})
    job.publish()
    stage.tracker.log_metrics(
        {
            "audio/hours": sum(report["samples"] for report in reports) / SAMPLE_RATE / 3600,
            "audio/utterances": num_kept,
            "audio/rejects": len(rejects),
        }
    )


def _state(path: Path) -> tuple[int, int]:
    """Size and time of a recording: an exchanged one must not meet a shard made of the old one."""
    try:
        stat = file_of(path).stat()
    except OSError:
        return (0, 0)
    return stat.st_size, stat.st_mtime_ns


def group_by_duration(rows: Sequence[Row], seconds: float) -> list[list[Row]]:
    """Cut rows of the manifest into runs of consecutive utterances, each ended by the one that reaches ``seconds``."""
    groups: list[list[Row]] = []
    filled = seconds
    for row in rows:
        if filled >= seconds:
            groups.append([])
            filled = 0.0
        groups[-1].append(row)
        filled += row["num_samples"] / row["sample_rate"]
    return groups


def condition_shard(rows: Sequence[Row], output: Path, *, root: Path, audio: Audio) -> dict[str, Any]:
    """Make one shard; the report counts utterances and samples and carries the rejects."""
    settings = Conditioning(
        audio.trim_db, audio.normalise_peak, audio.pad_multiple, audio.min_seconds, audio.max_seconds
    )
    kept: list[Row] = []
    rejects: list[Row] = []
    with IsolatedDecoder() as decoder:
        for row in rows:
            path = root / row["path"]
            try:
                kept.append(_condition_row(row, *decoder.read(path, settings.max_seconds), settings, audio.codec))
            except AudioError as error:
                rejects.append(reject_row(row["path"], "audio", str(error).removeprefix(f"{path}: ")))
    # An empty shard is written too: index i must mean the same utterances in every stage.
    write_shard(output, kept, AUDIO, {"stage": "audio", "sample_rate": SAMPLE_RATE, "codec": audio.codec})
    return {"utterances": len(kept), "samples": sum(row["num_speech"] for row in kept), "rejects": rejects}


def _condition_row(row: Row, wave: Any, rate: int, settings: Conditioning, codec: Any) -> Row:
    made = condition(wave, rate, settings)
    return {
        **{key: row[key] for key in ("id", "speaker", "text", "language", "split")},
        "num_samples": len(made.wave),
        "num_speech": made.num_speech,
        "audio": encode_audio(made.wave, codec),
        "phones": shift_phones(row["phones"], made.trim_start_seconds, made.num_speech / SAMPLE_RATE),
    }


def shift_phones(phones: Sequence[Row] | None, offset: float, seconds: float) -> list[Row] | None:
    """Move phone intervals ``offset`` seconds earlier and keep what lies within ``0..seconds``."""
    if phones is None:
        return None
    moved = [
        {"phone": p["phone"], "start": max(0.0, p["start"] - offset), "end": min(seconds, p["end"] - offset)}
        for p in phones
    ]
    return [phone for phone in moved if phone["start"] < phone["end"]]


if __name__ == "__main__":
    stage_main("audio", run, Params)
