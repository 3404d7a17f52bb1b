"""The paper's table beside ours.

In: ``metrics.json``, ``utterances.parquet`` and ``trials.parquet`` of the table's own experiments, in
``evaluate/<table>/<experiment>``, and of those that every table may show, in ``evaluate/common/<experiment>``. Out:
``tables/<table>/table.md``, ``.csv``, ``.tex`` and ``.json`` and, where the paper compares systems phoneme by phoneme,
``phonemes.csv`` and ``.svg``; a summary on standard output. ``tables/plots/<table>`` has what ``dvc plots``
draws: ``measured.csv``, our numbers alone, and ``phonemes.png``. Rows and columns are the paper's, in its order, its
value beside ours; below them the rows that bound the judges: shuffled units, an untrained model. Every WER is also
given as a paired difference from ground truth. One that is not better than that of shuffled units, by a paired interval
that excludes zero, is called not intelligible. The papers are the modules of :mod:`stages.papers`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from respeak.results.columns import MEASURED
from respeak.results.console import summarise
from respeak.results.measured import TRUTH, Measured, name_recogniser
from respeak.results.paired import Paired, read_sums, read_trials
from respeak.results.phoneme_table import phoneme_rows, save_picture
from respeak.results.phoneme_table import to_csv as phonemes_csv
from respeak.results.table import (
    NOT_INTELLIGIBLE,
    Cell,
    Column,
    Row,
    Table,
    to_csv,
    to_json,
    to_latex,
    to_markdown,
    to_measured_csv,
)
from speech.errors import UserError
from speech.judges.settings import Evaluate
from speech.storage.files import write_json, write_text
from stages.papers.paper_table import ANCHORS, Entry, PaperColumn, PaperRow
from stages.papers.registry import find_table
from stages.params.checks import COMMON
from stages.params.encoder import Encoder
from stages.params.experiments import Experiment, ExperimentParams
from stages.params.kmeans import KMeans
from stages.params.tables import PaperTable
from stages.runtime.stage import Stage, stage_main

NOT_RUN = Cell(None, text="not run")
HUMAN = Cell(None, text="human, not run")


@dataclass(frozen=True)
class Params(ExperimentParams):
    """Sections of ``params.yaml`` that this stage reads."""

    seed: int
    encoder: Encoder
    kmeans: KMeans
    evaluate: Evaluate
    tables: dict[str, PaperTable]


def run(stage: Stage[Params]) -> None:
    """Write and print ``tables/<table>``, and what is plotted of it."""
    name = stage.require_variant(list(stage.params.tables))
    table = make_table(stage.params, name)
    directory, plots = Path("tables") / name, Path("tables/plots") / name
    write_text(directory / "table.md", to_markdown(table))
    write_text(directory / "table.csv", to_csv(table))
    write_text(directory / "table.tex", to_latex(table))
    write_json(directory / "table.json", to_json(table))
    write_text(plots / "measured.csv", to_measured_csv(table))
    _write_phonemes(stage.params, name, directory, plots)
    for path in (*sorted(directory.iterdir()), *sorted(plots.iterdir())):
        stage.tracker.log_artifact(path)
    print(summarise(table, f"{directory}/table.md"), flush=True)


def _write_phonemes(params: Params, name: str, directory: Path, plots: Path) -> None:
    """Write the errors by phoneme of the experiments that the paper compares, if any."""
    entry, shown = find_table(name, params.tables[name].paper), experiments_of(params, name)
    if not entry.phonemes:
        return
    labels = {e: ANCHORS.get(e, e.replace("_", " ")) for e in entry.phonemes}
    files = {e: evaluated_in(shown[e], e) / "utterances.parquet" for e in labels if e in shown}
    rows = phoneme_rows(labels, files, entry.paper.phonemes, params.evaluate.bootstrap, params.seed)
    write_text(directory / "phonemes.csv", phonemes_csv(rows))
    save_picture(rows, f"Errors by phoneme: {entry.paper.title}", directory / "phonemes")
    (directory / "phonemes.png").rename(plots / "phonemes.png")


def evaluated_in(experiment: Experiment, name: str) -> Path:
    """Return the folder of what was judged of an experiment."""
    return Path("evaluate") / experiment.table / name


def experiments_of(params: Params, table: str) -> dict[str, Experiment]:
    """Return the experiments that a table shows: its own, then those common to all tables.

    Of the common ones those of recordings that its own are of too: others' errors are no bounds for theirs.
    """
    known = params.experiments
    own = {name: experiment for name, experiment in known.items() if experiment.table == table}
    sources = {params.source_of(name) for name in own}
    common = {
        name: experiment
        for name, experiment in known.items()
        if experiment.table == COMMON and (not own or params.source_of(name) in sources)
    }
    return own | common


@dataclass(frozen=True)
class Results(Measured):
    """The measurements for a table, and its experiments by name."""

    experiments: dict[str, Experiment]


def make_table(params: Params, name: str, project: Path = Path()) -> Table:
    """Put together table ``name`` from the results under ``project``.

    Raises:
        UserError: no paper has the table, or an experiment of it has no results, or damaged ones.
    """
    entry, results = find_table(name, params.tables[name].paper), _read_results(params, name, project)
    extra = [
        column
        for column in MEASURED
        if column.name not in {c.metric for c in entry.paper.columns if not c.group}
        and any(results.cell(e, column.name) for e in results.experiments)
    ]
    rows = [_paper_row(entry, row, extra, results, params) for row in entry.paper.rows]
    played = {e for row in entry.paper.rows for e in row.experiments.values()}
    rows += [_measured_row(entry, e, extra, results) for e in results.experiments if e not in played]
    rows += [_absent_row(entry, e) for e in entry.experiments if e not in played and e not in results.experiments]
    context = _context(params, results, entry)
    findings = [results.settle(claim) for claim in entry.claims]
    caption = _caption(context, entry, rows, results)
    return Table(entry.paper.title, caption, [*_paper_columns(entry), *extra], rows, context, findings)


def _paper_columns(entry: Entry) -> list[Column]:
    columns = []
    for c in entry.paper.columns:
        columns.append(Column(f"{c.name}_paper", f"{c.heading} (paper)", c.digits))
        columns.append(Column(c.name, f"{c.heading} (ours)", _digits(c)))
    return columns


def _digits(column: PaperColumn) -> int:
    return next((known.digits for known in MEASURED if known.name == column.metric), column.digits)


def _paper_row(entry: Entry, row: PaperRow, extra: Sequence[Column], results: Results, params: Params) -> Row:
    cells = {f"{name}_paper": cell for name, cell in entry.paper.cells(row).items()}
    for column in entry.paper.columns:
        experiment = row.experiments.get(column.group, "")
        cells |= _ours(column, experiment, results)
    ran = [e for e in dict.fromkeys(row.experiments.values()) if e in results.experiments]
    # What the paper does not measure: of the experiment that plays the row's plain columns, or plays it alone.
    shown = row.experiments.get("", ran[0] if len(ran) == 1 else "")
    if shown in ran:
        cells |= {c.name: cell for c in extra if (cell := results.cell(shown, c.name))}
    notes = [row.note, *(_stand_in(e, results.experiments[e], params) for e in ran), *map(results.verdict, ran)]
    note = "; ".join(dict.fromkeys(filter(None, notes)))
    ours = f"{shown.replace('_', ' ')} (row '{row.label}')" if shown else ""
    return Row(f"paper:{row.label}", row.label, "paper", cells, note, ours)


def _ours(column: PaperColumn, experiment: str, results: Results) -> dict[str, Cell]:
    if column.human:
        return {column.name: HUMAN}
    if experiment not in results.experiments:
        return {column.name: NOT_RUN}
    cell = results.cell(experiment, column.metric)
    return {column.name: cell} if cell else {}


def _measured_row(entry: Entry, experiment: str, extra: Sequence[Column], results: Results) -> Row:
    cells: dict[str, Cell] = {}
    # A column of a group (a language) is not about this experiment's corpus.
    for column in (c for c in entry.paper.columns if not c.group):
        cells |= _ours(column, experiment, results)
    cells |= {c.name: cell for c in extra if (cell := results.cell(experiment, c.name))}
    label = describe(experiment, results.experiments[experiment])
    return Row(experiment, label, "measured", cells, results.verdict(experiment))


def _absent_row(entry: Entry, experiment: str) -> Row:
    cells = {c.name: HUMAN if c.human else NOT_RUN for c in entry.paper.columns if not c.group}
    return Row(experiment, ANCHORS.get(experiment, experiment), "measured", cells)


def _stand_in(name: str, experiment: Experiment, params: Params) -> str:
    """Return what is ours in a row of the paper, so that nobody takes it for the paper's system or data."""
    source = experiment.source or params.roles.source
    corpora = source if experiment.task != "conversion" else f"{source} to {params.roles.target}"
    units = "" if experiment.task == "copy" else f", {params.encoder.kind} units"
    return f"ours: {name.replace('_', ' ')}{units}, {corpora}"


def describe(key: str, experiment: Experiment) -> str:
    """Describe an experiment in words, as rows and players are labelled."""
    if experiment.task == "copy":
        return "ground truth" if key == "ground_truth" else f"{key} (ground truth)"
    if experiment.task == "vocode":
        return f"{key} (the vocoder alone, on the recordings' own log-mels)"
    what = f"{experiment.system}: {experiment.task}" if experiment.task != experiment.system else experiment.system
    remarks = [
        remark
        for remark, applies in (
            ("shuffled units", experiment.units == "shuffled"),
            ("deduplicated units", experiment.units == "deduplicated"),
            ("untrained", experiment.weights == "untrained"),
            ("unseen voices", experiment.voices == "unseen"),
            ("another's F0", experiment.melody == "other"),
            (f"F0 {experiment.semitones:+g} semitones".replace("-", "\N{MINUS SIGN}"), experiment.semitones != 0),
            (f"F0 range \xd7 {experiment.span:g}", experiment.span not in (0, 1)),
            ("flat F0", experiment.span == 0),
        )
        if applies
    ]
    label = f"{what}, {', '.join(remarks)}" if remarks else what
    return label if key in (experiment.task, experiment.units, experiment.weights) else f"{key} ({label})"


def _context(params: Params, results: Results, entry: Entry) -> dict[str, Any]:
    evaluate = params.evaluate
    return {
        "scale": params.scale,
        "train": params.roles.train,
        "source": " and ".join(dict.fromkeys(params.source_of(name).name for name in results.experiments)),
        "target": params.roles.target,
        "units": f"{params.kmeans.k} clusters of {params.encoder.kind} features",
        "utterances": max(int(m["utterances"]) for m in results.metrics.values()),
        "asr": name_recogniser(evaluate.asr),
        "speaker_judge": evaluate.speaker_judge,
        "speaker_seconds": evaluate.speaker_seconds,
        "f0_tolerance": evaluate.f0_tolerance,
        "bootstrap": evaluate.bootstrap,
        "seed": params.seed,
        "paper": entry.paper.citation,
        "configs": list(entry.configs),
        "tolerance": dict(entry.tolerance),
    }


_CAPTION = (
    "Ours: measured at scale {scale}, trained on {train}, {utterances} test utterances of {source}, voices of "
    "{target}, {units}. Words by {asr}{floor}. Speakers by {speaker_judge} on utterances joined to "
    "{speaker_seconds:g} s. {f0}Gross F0 errors are above {tolerance_f0:g} %. In brackets: 95 % bootstrap intervals "
    "over utterances (speakers: over joined groups), {bootstrap} resamples. '{verdict}': WER not below that of "
    "shuffled units by a paired interval that excludes zero, or not below 100 %. An en dash: not measured, or none in "
    "the paper. The paper's values ({paper}) are by other judges ({judges}): compare orders and distances from ground "
    "truth, not values.{remarks}{within}"
)


def _caption(context: Mapping[str, Any], entry: Entry, rows: Sequence[Row], results: Results) -> str:
    f0 = (
        "F0 is compared with the source's contour carried to the target speaker's log-F0 mean and deviation. "
        if any(e.task == "conversion" for e in results.experiments.values())
        else ""
    )
    truth = results.cell(TRUTH, "wer") if TRUTH in results.experiments else None
    floor = f": its floor, on the recordings themselves, is {truth.value:.1f} % WER" if truth else ""
    return _CAPTION.format(
        **context,
        f0=f0,
        floor=floor,
        tolerance_f0=100 * context["f0_tolerance"],
        judges=entry.paper.judges,
        verdict=NOT_INTELLIGIBLE,
        remarks=f" {entry.paper.remarks}" if entry.paper.remarks else "",
        within=_within(entry, rows),
    )


def _within(entry: Entry, rows: Sequence[Row]) -> str:
    """Return how many of our values lie within the tolerance of the paper's."""
    compared = []
    for row in rows:
        for c in entry.paper.columns:
            ours, theirs = (row.cells.get(name, NOT_RUN).value for name in (c.name, f"{c.name}_paper"))
            if ours is not None and theirs is not None and c.metric in entry.tolerance:
                compared.append(abs(ours - theirs) <= entry.tolerance[c.metric])
    if not compared:
        return ""
    stated = ", ".join(f"{metric} {value:g}" for metric, value in entry.tolerance.items())
    return f" Within the tolerance of the paper's values ({stated}): {sum(compared)} of {len(compared)}."


def _read_results(params: Params, name: str, project: Path) -> Results:
    shown = experiments_of(params, name)
    folders = {key: project / evaluated_in(experiment, key) for key, experiment in shown.items()}
    metrics = {key: _read_metrics(folder / "metrics.json") for key, folder in folders.items()}
    sums = {key: read_sums(folder / "utterances.parquet") for key, folder in folders.items()}
    trials = {key: read_trials(folder / "trials.parquet") for key, folder in folders.items()}
    return Results(metrics, Paired(sums, params.evaluate.bootstrap, params.seed, trials), shown)


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


if __name__ == "__main__":
    stage_main("tables", run, Params)
