"""Judge one experiment: words by ASR, F0 against the source's, speakers by d-vectors of joined utterances.

In: ``synthesize/<experiment>``; the source corpus's audio (texts, lengths), F0 and ``f0_stats.json``; the target
corpus's audio (enrolment) and ``f0_stats.json``. Out, in ``evaluate/<experiment>``: ``metrics.json``,
``utterances.parquet`` (the counts behind every rate) and ``trials.parquet`` (every speaker trial).
F0 as ``speech.metrics.f0`` states it, not measured on copies; enrolment and trials as in :mod:`stages.runtime.trials`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from speech.audio import decode_audio
from speech.errors import AudioError, UserError
from speech.files import write_json
from speech.judges.asr import Pocketsphinx
from speech.metrics.f0 import compare_f0, move_contour
from speech.metrics.summary import TRIALS, UTTERANCES, Metrics, f0_metrics, speaker_metrics, word_metrics
from speech.metrics.words import count_errors
from speech.pitch import F0_HOP, extract_f0
from speech.shards import read_rows, read_shard, shard_paths, write_shard
from speech.text import normalise_text
from stages.runtime import params as schema
from stages.runtime.jobs import Job
from stages.runtime.stage import Stage, stage_main
from stages.runtime.trials import judge_speakers

SAMPLE_RATE = 16_000
Row = dict[str, Any]
LogStatistics = dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Part:
    """What one worker judges: a shard of synthesised audio, and where its sources lie."""

    shard: Path
    corpus: Path
    task: Literal["copy", "resynthesis", "conversion"]
    source_shards: dict[str, str]
    statistics: tuple[LogStatistics, LogStatistics]
    f0: schema.F0
    evaluate: schema.Evaluate


def run(stage: Stage) -> None:
    """Write ``evaluate/<experiment>``."""
    params, name = stage.params, stage.require_variant(list(stage.params.experiments))
    made = Path("synthesize") / name
    source, target = (Path("data") / corpus for corpus in (params.roles.source, params.roles.target))
    if not any(True for _ in read_rows(made, ["id"])):
        raise UserError(f"{made}: holds no utterances to judge; run 'dvc repro synthesize@{name}'")
    inputs = [made, source / "audio", source / "f0", source / "f0_stats.json", target / "audio"]
    job = stage.job([*inputs, target / "f0_stats.json"], Path("evaluate") / name)
    rows = _judge_utterances(stage, job, made, source, target)
    trials = judge_speakers(job, made, [source, target], params.evaluate.speaker_seconds, params.seed)
    metrics: Metrics = {
        "utterances": float(len(rows)),
        "utterances_without_text": float(sum(row["words"] is None for row in rows)),
        "speaker_groups": float(len(trials.intended)),
        "speaker_groups_too_short": float(np.sum(trials.seconds < params.evaluate.speaker_seconds)),
        **word_metrics(rows, params.evaluate.bootstrap, params.seed),
        **f0_metrics(rows, params.evaluate.bootstrap, params.seed),
        **speaker_metrics(trials.scores, trials.intended, params.evaluate.bootstrap, params.seed),
    }
    _explain_absent(name, metrics)
    metrics = {key: round(value, 4) for key, value in metrics.items()}
    for leftover in job.parts.iterdir():
        leftover.unlink()
    write_shard(job.parts / "utterances.parquet", rows, UTTERANCES, {"stage": "evaluate", "experiment": name})
    write_shard(job.parts / "trials.parquet", trials.rows(), TRIALS, {"stage": "evaluate", "experiment": name})
    write_json(job.parts / "metrics.json", metrics)
    stage.tracker.log_metrics(metrics)
    job.publish()


def judge_part(part: Part, output: Path) -> dict[str, Any]:
    """Judge one shard's utterances; the report names grammar words that the recogniser's dictionary lacks."""
    judge = _recogniser(part.evaluate.asr.mode, part.corpus)
    rows = list(_judged_rows(part, judge))
    write_shard(output, rows, UTTERANCES)
    return {"missing": list(judge.missing)}


def _judge_utterances(stage: Stage, job: Job, made: Path, source: Path, target: Path) -> list[Row]:
    params = stage.params
    task = params.experiments[str(stage.variant)].task
    where = {row["id"]: path.name for path in shard_paths(source / "audio") for row in read_shard(path, ["id"])}
    statistics = (_log_statistics(source), _log_statistics(target)) if task == "conversion" else ({}, {})
    tasks = {}
    for index, shard in enumerate(shard_paths(made)):
        ids = [row["source_id"] for row in read_shard(shard, ["source_id"])]
        if lost := [id_ for id_ in ids if id_ not in where]:
            raise UserError(f"{shard}: source '{lost[0]}' is not in {source}/audio; run 'dvc repro' again")
        shards = {id_: where[id_] for id_ in ids}
        tasks[f"utterances-{index:05d}.parquet"] = Part(
            shard, source, task, shards, statistics, params.f0, params.evaluate
        )
    reports = job.run(tasks, judge_part, f"evaluate {stage.variant}")
    missing = sorted({word for report in reports.values() for word in report["missing"]})
    if missing:
        shown = ", ".join(missing[:10]) + (", ..." if len(missing) > 10 else "")
        _say(f"evaluate: the recogniser's dictionary lacks {len(missing)} of the corpus's words: {shown}")
    return [row for name in tasks for row in read_shard(job.parts / name)]


def _judged_rows(part: Part, judge: Pocketsphinx) -> Iterator[Row]:
    references = {} if part.task == "copy" else dict(_reference_f0(part))
    for row in read_shard(part.shard):
        try:
            wave = decode_audio(row["audio"])
        except AudioError as error:
            raise UserError(f"{part.shard}: utterance '{row['id']}': {error}") from None
        judged: Row = {name: row[name] for name in ("id", "source_id", "source_speaker", "target_speaker")}
        judged["seconds"] = len(wave) / SAMPLE_RATE
        reference = normalise_text(row["text"] or "")
        if reference:
            hypothesis = judge.transcribe(wave)
            judged |= {"reference": reference, "hypothesis": hypothesis, **asdict(count_errors(reference, hypothesis))}
        if part.task != "copy":
            judged |= _compare(part, row, references[row["source_id"]], wave)
        yield {name: judged.get(name) for name in UTTERANCES.names}


def _compare(part: Part, row: Row, reference: np.ndarray, wave: np.ndarray) -> dict[str, Any]:
    if part.task == "conversion":
        source, target = part.statistics
        reference = move_contour(reference, source[row["source_speaker"]], target[row["target_speaker"]])
    f0 = extract_f0(wave, part.f0.method, part.f0.floor_hz, part.f0.ceil_hz)
    return asdict(compare_f0(reference, f0, tolerance=part.evaluate.f0_tolerance))


def _reference_f0(part: Part) -> Iterator[tuple[str, np.ndarray]]:
    """F0 of the sources over their speech, padding cut off, by id."""
    for shard in sorted(set(part.source_shards.values())):
        lengths = read_shard(part.corpus / "audio" / shard, ["id", "num_speech"])
        num_speech = {row["id"]: row["num_speech"] for row in lengths if row["id"] in part.source_shards}
        for row in read_shard(part.corpus / "f0" / shard):
            if row["id"] in num_speech:
                yield row["id"], row["f0"][: num_speech[row["id"]] // F0_HOP]


def _log_statistics(corpus: Path) -> LogStatistics:
    path = corpus / "f0_stats.json"
    try:
        stats: Mapping[str, Any] = json.loads(path.read_text())
        return {name: (entry["log"]["mean"], entry["log"]["std"]) for name, entry in stats.items()}
    except (OSError, ValueError, KeyError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"{path}: no F0 statistics can be read ({reason}); run 'dvc repro' again") from None


@cache
def _recogniser(mode: Literal["open", "words", "sentences"], corpus: Path) -> Pocketsphinx:
    if mode == "open":
        return Pocketsphinx(mode)
    texts: Sequence[str] = [row["text"] for row in read_rows(corpus / "audio", ["text"]) if row["text"]]
    # Without any text there is nothing to score, so nothing to recognise either: no grammar, no error.
    return Pocketsphinx(mode, texts) if texts else Pocketsphinx("open")


def _explain_absent(name: str, metrics: Metrics) -> None:
    without = int(metrics["utterances_without_text"])
    if "wer" not in metrics:
        _say(f"evaluate {name}: no test utterance has text, so WER and CER are not measured")
    elif without:
        _say(f"evaluate {name}: {without} utterances without text are not in WER and CER")
    if "eer" not in metrics:
        _say(f"evaluate {name}: fewer than two enrolled speakers, so speaker accuracy and EER are not measured")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    stage_main("evaluate", run)
