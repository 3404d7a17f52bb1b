"""The experiments of a sweep side by side: one table, and the word error rate over the bit rate of what is sent."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from respeak.results.columns import MEASURED
from respeak.results.table import Cell, Column, Row, Table, to_markdown
from speech.rates import SAMPLE_RATE, UNIT_HOP
from stages.facts import all_bit_rates

Metrics = Mapping[str, float]
UNIT_RATE = SAMPLE_RATE / UNIT_HOP  # Hz
SHOWN = ("wer", "cer", "ffe", "speaker_accuracy", "eer")  # in the Markdown; the CSV has every metric
TRUTH = "ground_truth"
CAPTION = (
    "One line for each DVC experiment, its metrics as `dvc exp show` has them. bit/s: units and F0 tokens in codes of "
    "fixed length, as Polyak et al. 2021 count them; the speaker is not counted. In brackets: 95 % bootstrap "
    "intervals. An en dash: not measured."
)


class Experiment(Protocol):
    """One combination of a sweep's grid: its name, the values that vary, ``params.yaml`` as composed for it."""

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def varied(self) -> Mapping[str, str]: ...  # noqa: D102

    @property
    def params(self) -> Mapping[str, Any]: ...  # noqa: D102


def bit_rate(params: Mapping[str, Any]) -> float:
    """Return bits per second of units, in codes of fixed length, and of the system's that sends most beside them."""
    units = UNIT_RATE * math.ceil(math.log2(params["kmeans"]["k"]))
    return units + max((rate(params) for rate in all_bit_rates().values()), default=0.0)


def judged(experiment: Experiment) -> list[str]:
    """Return what is synthesized by a trained system from its own units: the rows that a sweep is about."""
    spoken = experiment.params.get("experiments", {})
    return [n for n, e in spoken.items() if e["task"] != "copy" and e["units"] == "own" and e["weights"] == "trained"]


def markdown(experiments: Sequence[Experiment], metrics: Mapping[str, Metrics], title: str) -> str:
    """Return the comparison for people."""
    return to_markdown(make_table(experiments, metrics, title))


def make_table(experiments: Sequence[Experiment], metrics: Mapping[str, Metrics], title: str) -> Table:
    """Return one row for each experiment: what varies, the bit rate, the usual metrics of each judged system."""
    varied = list(dict.fromkeys(key for experiment in experiments for key in experiment.varied))
    columns = [*(Column(key, key) for key in varied), Column("bit_rate", "bit/s", 0)]
    known = {name: column for column in MEASURED if (name := column.name) in SHOWN}
    for spoken in dict.fromkeys(name for experiment in experiments for name in judged(experiment)):
        for name in SHOWN:
            if any(f"{spoken}/{name}" in found for found in metrics.values()):
                columns.append(Column(f"{spoken}/{name}", f"{spoken}: {known[name].heading}", known[name].digits))
    rows = []
    for experiment in experiments:
        found = metrics.get(experiment.name, {})
        cells = {key: Cell(None, text=value) for key, value in experiment.varied.items()}
        cells["bit_rate"] = Cell(bit_rate(experiment.params))
        for column in columns[len(varied) + 1 :]:
            if column.name in found:
                low, high = (found.get(f"{column.name}_{side}") for side in ("low", "high"))
                cells[column.name] = Cell(found[column.name], low, high)
        rows.append(Row(experiment.name, experiment.name, "measured", cells, "" if found else "not finished"))
    return Table(title, CAPTION, columns, rows)


def to_csv(experiments: Sequence[Experiment], metrics: Mapping[str, Metrics]) -> str:
    """Return one line for each experiment: what varies, the bit rate and every metric, digit for digit."""
    varied = list(dict.fromkeys(key for experiment in experiments for key in experiment.varied))
    names = sorted({name for experiment in experiments for name in metrics.get(experiment.name, {})})
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["experiment", *varied, "bit_rate", *names])
    for experiment in experiments:
        found = metrics.get(experiment.name, {})
        values = [found.get(name, "") for name in names]
        writer.writerow(
            [experiment.name, *(experiment.varied.get(key, "") for key in varied), bit_rate(experiment.params), *values]
        )
    return out.getvalue()


def figure(experiments: Sequence[Experiment], metrics: Mapping[str, Metrics]) -> Any:
    """Return WER over bit rate with 95 % intervals: a line for each system and choice of what else varies."""
    from matplotlib.figure import Figure

    picture = Figure(figsize=(7, 4.5), layout="constrained")
    axes = picture.subplots()
    for label, points in sorted(lines(experiments, metrics).items()):
        rates, values, low, high = (list(column) for column in zip(*sorted(points), strict=True))
        spread = [[v - b for v, b in zip(values, low, strict=True)], [b - v for v, b in zip(values, high, strict=True)]]
        axes.errorbar(rates, values, yerr=spread, marker="o", capsize=3, label=label)
    floors = {found[f"{TRUTH}/wer"] for e in experiments if f"{TRUTH}/wer" in (found := metrics.get(e.name, {}))}
    for floor in sorted(floors):
        axes.axhline(floor, linestyle=":", color="grey", label="ground truth")
    axes.set(xlabel="units and F0, bit/s", ylabel="WER %", ylim=(0, None))
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="small")
    return picture


Point = tuple[float, float, float, float]


def lines(experiments: Sequence[Experiment], metrics: Mapping[str, Metrics]) -> dict[str, list[Point]]:
    """Return (bit rate, WER, lower, upper bound) of each experiment, by system and by what varies besides the rate."""
    found: dict[str, list[Point]] = {}
    for experiment in experiments:
        values = metrics.get(experiment.name, {})
        other = [f"{key}={value}" for key, value in experiment.varied.items() if key != "kmeans.k"]
        for spoken in judged(experiment):
            if (wer := values.get(f"{spoken}/wer")) is None:
                continue
            low, high = (values.get(f"{spoken}/wer_{side}", wer) for side in ("low", "high"))
            found.setdefault(", ".join([spoken, *other]), []).append((bit_rate(experiment.params), wer, low, high))
    return found
