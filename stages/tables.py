"""The paper's table beside ours.

In: ``metrics.json`` and ``utterances.parquet`` of the table's experiments. Out: ``tables/<table>/table.md``, ``.csv``,
``.tex`` and ``.json``, the Markdown on standard output too. Every system's WER is also given as a paired difference
from ground truth. One that is not better than shuffled units, by a paired interval that excludes zero, is called not
intelligible.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from speech.errors import UserError
from speech.files import write_json, write_text
from speech.metrics.bootstrap import Interval, paired_difference
from speech.shards import read_shard
from stages.papers import polyak2021
from stages.runtime.params import Experiment, Params
from stages.runtime.rendering import Cell, Column, Row, Table, to_csv, to_json, to_latex, to_markdown
from stages.runtime.stage import Stage, stage_main

COLUMNS = (
    Column("wer", "WER %"),
    Column("wer_difference", "WER \N{MINUS SIGN} ground truth"),
    Column("cer", "CER %"),
    Column("vde", "VDE %"),
    Column("ffe", "FFE %"),
    Column("gpe", "GPE %"),
    Column("f0_rmse_cents", "F0 RMSE cents", 0),
    Column("speaker_accuracy", "nearest speaker %"),
    Column("eer", "EER %"),
)
NOT_INTELLIGIBLE = "not intelligible"
# Word errors and words of each source utterance.
WordSums = dict[str, tuple[float, float]]


def run(stage: Stage) -> None:
    """Write and print ``tables/<table>``."""
    name = stage.require_variant(list(stage.params.tables))
    table = make_table(stage.params, name, Path("evaluate"))
    directory = Path("tables") / name
    markdown = to_markdown(table)
    write_text(directory / "table.md", markdown)
    write_text(directory / "table.csv", to_csv(table))
    write_text(directory / "table.tex", to_latex(table))
    write_json(directory / "table.json", to_json(table))
    for path in sorted(directory.glob("table.*")):
        stage.tracker.log_artifact(path)
    print(markdown, flush=True)


def make_table(params: Params, name: str, evaluated: Path) -> Table:
    """Put together table ``name`` from the results under ``evaluated``.

    Raises:
        UserError: an experiment of the table has no results, or damaged ones.
    """
    spec = params.tables[name]
    experiments = {key: params.experiments[key] for key in spec.experiments}
    metrics = {key: _read_metrics(evaluated / key / "metrics.json") for key in experiments}
    words = {key: _read_words(evaluated / key / "utterances.parquet") for key in experiments}
    truth = next((key for key, e in experiments.items() if e.task == "copy"), None)
    shuffled = next((key for key, e in experiments.items() if e.units == "shuffled"), None)
    compare = _Comparison(words, params.evaluate.bootstrap, params.seed)
    rows = []
    for key, experiment in experiments.items():
        cells = _cells(metrics[key])
        if truth is not None and key != truth and (difference := compare(key, truth)):
            cells["wer_difference"] = Cell(difference.value, difference.low, difference.high)
        note = _note(compare(key, shuffled) if shuffled is not None else None)
        rows.append(Row(key, _label(key, experiment), "measured", cells, note))
    task: Literal["resynthesis", "conversion"] = (
        "conversion" if any(e.task == "conversion" for e in experiments.values()) else "resynthesis"
    )
    for paper in polyak2021.rows_for(task):
        shown = {
            c.name: Cell(paper.values[c.name], digits=polyak2021.DIGITS) for c in COLUMNS if c.name in paper.values
        }
        rows.append(Row(f"paper:{paper.method}:{paper.data}", paper.label, "paper", shown, paper.note))
    utterances = max(int(m["utterances"]) for m in metrics.values())
    context = _context(params, utterances, task)
    return Table(spec.title, _caption(context, task), COLUMNS, rows, context)


class _Comparison:
    """Paired WER differences between experiments, in points, over the source utterances that both have."""

    def __init__(self, words: Mapping[str, WordSums], resamples: int, seed: int) -> None:
        self.words, self.resamples, self.seed = words, resamples, seed

    def __call__(self, first: str, second: str) -> Interval | None:
        common = sorted(self.words[first].keys() & self.words[second].keys())
        if not common:
            return None
        one, other = (np.array([self.words[key][id_] for id_ in common]).T for key in (first, second))
        found = paired_difference((one[0], one[1]), (other[0], other[1]), self.resamples, self.seed)
        return Interval(100 * found.value, 100 * found.low, 100 * found.high)


def _note(versus_shuffled: Interval | None) -> str:
    # A system's own difference from itself is exactly zero: shuffled units are not intelligible by definition.
    return NOT_INTELLIGIBLE if versus_shuffled is not None and versus_shuffled.high >= 0 else ""


def _label(key: str, experiment: Experiment) -> str:
    if experiment.task == "copy":
        return "ground truth"
    what = f"{experiment.system}: {experiment.task}" if experiment.task != experiment.system else experiment.system
    remarks = [
        remark
        for remark, applies in (
            ("shuffled units", experiment.units == "shuffled"),
            ("untrained", experiment.weights == "untrained"),
        )
        if applies
    ]
    label = f"{what}, {', '.join(remarks)}" if remarks else what
    return label if key in (experiment.task, experiment.units, experiment.weights) else f"{key} ({label})"


def _cells(metrics: Mapping[str, float]) -> dict[str, Cell]:
    return {
        c.name: Cell(metrics[c.name], metrics.get(f"{c.name}_low"), metrics.get(f"{c.name}_high"))
        for c in COLUMNS
        if c.name in metrics
    }


def _context(params: Params, utterances: int, task: str) -> dict[str, Any]:
    evaluate = params.evaluate
    return {
        "scale": params.scale,
        "task": task,
        "train": params.roles.train,
        "source": params.roles.source,
        "target": params.roles.target,
        "utterances": utterances,
        "asr": f"{evaluate.asr.judge}, {_ASR_MODES[evaluate.asr.mode]}",
        "speaker_judge": evaluate.speaker_judge,
        "speaker_seconds": evaluate.speaker_seconds,
        "f0_tolerance": evaluate.f0_tolerance,
        "bootstrap": evaluate.bootstrap,
        "seed": params.seed,
        "paper": polyak2021.CITATION,
    }


_ASR_MODES = {
    "open": "its own language model",
    "words": "a grammar of the corpus's words",
    "sentences": "a grammar of the corpus's own sentences",
}


_CAPTION = (
    "Measured at scale {scale}: trained on {train}, {utterances} test utterances of {source}, voices of {target}. "
    "WER and CER by {asr}: the ground-truth row is this judge's floor. Speakers by {speaker_judge} on utterances "
    "joined to {speaker_seconds:g} s. {f0}Gross F0 errors are above {tolerance:g} %. In brackets: 95 % bootstrap "
    "intervals over utterances (speakers: over joined groups), {bootstrap} resamples. '{verdict}': WER not below that "
    "of shuffled units by a paired interval that excludes zero. Rows of {paper} are its published values, by other "
    "judges ({judges}): compare orders and distances from ground truth, not values."
)


def _caption(context: Mapping[str, Any], task: str) -> str:
    f0 = (
        "F0 is compared with the source's contour carried to the target speaker's log-F0 mean and deviation. "
        if task == "conversion"
        else ""
    )
    shown = {**context, "f0": f0, "tolerance": 100 * context["f0_tolerance"], "judges": polyak2021.JUDGES}
    return _CAPTION.format(**shown, verdict=NOT_INTELLIGIBLE)


def _read_metrics(path: Path) -> dict[str, float]:
    remedy = f"run 'dvc repro evaluate@{path.parent.name}'"
    try:
        metrics: dict[str, float] = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path}: not found; {remedy}") from None
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}); {remedy}") from None
    if "utterances" not in metrics:
        raise UserError(f"{path}: key 'utterances' is missing; {remedy}")
    return metrics


def _read_words(path: Path) -> WordSums:
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for row in read_shard(path, ["source_id", "word_errors", "words"]):
        if row["words"]:
            sums[row["source_id"]][0] += row["word_errors"]
            sums[row["source_id"]][1] += row["words"]
    return {id_: (errors, words) for id_, (errors, words) in sums.items()}


if __name__ == "__main__":
    stage_main("tables", run)
