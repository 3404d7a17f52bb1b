"""The judging of an experiment: words by ASR, F0 against the source's, speakers by embeddings of joined utterances.

In: ``synthesize/<experiment>``; the source corpus's audio (texts, lengths), F0 and ``f0_stats.json``; the target
corpus's audio (enrolment) and ``f0_stats.json``. Out, in ``evaluate/<table>/<experiment>``: ``metrics.json``,
``utterances.parquet`` (the counts behind every rate) and ``trials.parquet`` (every speaker trial).
F0 as ``speech.metrics.f0_metrics`` states it, not measured on copies; enrolment and trials as in
:mod:`stages.judging.speaker_trials`.
Audio that was judged before, by the same judges, is not judged again (:mod:`speech.judges.cache`).
"""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from respeak.judges.digit_judge import read_real
from respeak.judges.panel import describe
from speech.errors import UserError
from speech.judges.asr import missing_words
from speech.judges.cache import Answers
from speech.judges.settings import Evaluate
from speech.metrics.summary import (
    TRIALS,
    UTTERANCES,
    Metrics,
    digit_set_metrics,
    genuine_metrics,
    speaker_metrics,
    utterance_metrics,
)
from speech.storage.files import write_json
from speech.storage.shards import read_rows, read_shard, write_shard
from stages.judging.answers import ANSWERS, Part, corpus_texts, judge_part, utterance_parts
from stages.judging.speaker_trials import Embedding, Trials, embed_groups, plan_trials
from stages.params.experiments import ExperimentParams
from stages.params.f0 import F0
from stages.runtime.stage import Stage, stage_main

Row = dict[str, Any]


@dataclass(frozen=True)
class Params(ExperimentParams):
    """Sections of ``params.yaml`` that this stage reads."""

    seed: int
    f0: F0
    evaluate: Evaluate


def run(stage: Stage[Params]) -> None:
    """Write ``evaluate/<table>/<experiment>``."""
    params, name = stage.params, stage.require_variant(list(stage.params.experiments))
    made = Path("synthesize") / name
    source, target = params.source_of(name), Path("data") / params.roles.target
    if not any(True for _ in read_rows(made, ["id"])):
        raise UserError(f"{made}: holds no utterances to judge; run 'dvc repro synthesize@{name}'")
    inputs = [made, source / "audio", source / "f0", source / "f0_stats.json", target / "audio"]
    experiment = params.experiments[name]
    job = stage.job([*inputs, target / "f0_stats.json"], Path("evaluate") / experiment.table / name)
    converted = experiment.task == "conversion"
    plan = plan_trials(made, [source, target], params.evaluate, params.seed, converted, params.runtime.device)
    parts = utterance_parts(params, name, made)
    # Speakers first: their judge takes longest to load, and the short tasks behind them even the workers out.
    reports = job.run({**plan.tasks, **parts}, judge, f"evaluate {name}")
    rows = [row for part in parts for row in read_shard(job.parts / part)]
    trials = plan.score(job.parts)
    metrics = {key: round(value, 4) for key, value in measure(params, rows, trials).items()}
    judges = describe(params.evaluate, dataclasses.asdict(params.f0))
    stage.tracker.log_params({"judges": judges, "experiment": dataclasses.asdict(experiment)})
    _explain_absent(name, metrics)
    _name_missing_words(params, source)
    stage.tracker.log_metrics({**metrics, "answers_found": sum(report["found"] for report in reports.values())})
    for leftover in job.parts.iterdir():
        leftover.unlink()
    write_shard(job.parts / "utterances.parquet", rows, UTTERANCES, {"stage": "evaluate", "experiment": name})
    write_shard(job.parts / "trials.parquet", trials.rows(), TRIALS, {"stage": "evaluate", "experiment": name})
    write_json(job.parts / "metrics.json", {**metrics, "judges": judges})
    job.publish()
    Answers(ANSWERS).prune()


def judge(task: Part | Embedding, output: Path) -> dict[str, Any]:
    """Judge some utterances, or embed some groups of them, in a worker process."""
    return judge_part(task, output) if isinstance(task, Part) else embed_groups(task, output)


def measure(params: Params, rows: list[Row], trials: Trials) -> Metrics:
    """Return the metrics of an experiment, from what was counted for its utterances and its speaker trials."""
    settings, seed = params.evaluate, params.seed
    return {
        **utterance_metrics(rows, settings.bootstrap, seed),
        **digit_set_metrics(rows, read_real(settings.digits), settings.bootstrap, seed),
        "speaker_groups": float(len(trials.intended)),
        "speaker_groups_too_short": float(np.sum(trials.seconds < settings.speaker_seconds)),
        **speaker_metrics(trials.scores, trials.intended, settings.bootstrap, seed),
        **genuine_metrics(trials.genuine, settings.bootstrap, seed),
    }


def _name_missing_words(params: Params, source: Path) -> None:
    asr = params.evaluate.asr
    missing = missing_words(corpus_texts(source)) if asr.judge == "pocketsphinx" and asr.mode != "open" else []
    if missing:
        shown = ", ".join(missing[:10]) + (", ..." if len(missing) > 10 else "")
        _log_line(f"evaluate: the recogniser's dictionary lacks {len(missing)} of the corpus's words: {shown}")


def _explain_absent(name: str, metrics: Metrics) -> None:
    without = int(metrics["utterances_without_text"])
    if "wer" not in metrics:
        _log_line(
            f"evaluate {name}: no test utterance has text in a language that the recogniser hears, so WER and CER are "
            "not measured (evaluate.asr_of names recognisers of other languages)"
        )
    elif without:
        _log_line(f"evaluate {name}: {without} utterances without text, or in another language, are not in WER and CER")
    if "eer" not in metrics:
        _log_line(f"evaluate {name}: fewer than two enrolled speakers, so speaker accuracy and EER are not measured")


def _log_line(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    stage_main("evaluate", run, Params)
