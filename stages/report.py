"""One page that shows everything: ``reports/index.html``, which needs no other file and no network.

In: the tables, what was synthesized and judged, the source corpus's F0 and units, the systems' and the F0 quantiser's
loss histories, ``unit_quality/``. Out: tables; errors by phoneme; some sentences to be heard in every system, with
spectrograms, F0 and units; loss curves; use and quality of the units; wall times of the stages with links to MLflow.
Audio is embedded as it was made (FLAC or WAV), up to ``report.max_audio_mb``. Wall times and links are read where runs
are recorded, which is no input that DVC knows.
"""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from respeak.page.charts import bar_chart, line_chart
from respeak.page.clips import CHOSEN
from respeak.page.document import document
from respeak.page.pictures import data_url
from respeak.page.sections import listen_section, phoneme_section, table_section
from respeak.results.measured import TRUTH
from respeak.results.table import NOT_INTELLIGIBLE
from speech.errors import UserError
from speech.storage.files import write_text
from speech.storage.shards import read_rows
from stages.papers.registry import find_table
from stages.params.experiments import ExperimentParams
from stages.params.f0 import F0
from stages.params.kmeans import KMeans
from stages.params.report import Report
from stages.params.tables import PaperTable
from stages.reporting.players import read_sentences
from stages.reporting.run_times import read_runs, runs_section
from stages.runtime.stage import Stage, stage_main
from stages.tables import describe
from stages.tracking.tracker import main_root

OUTPUT = Path("reports") / "index.html"


@dataclass(frozen=True)
class Params(ExperimentParams):
    """Sections of ``params.yaml`` that this stage reads."""

    f0: F0
    kmeans: KMeans
    tables: dict[str, PaperTable]
    report: Report


def run(stage: Stage[Params]) -> None:
    """Write ``reports/index.html``."""
    page = make_page(stage.params, Path(), main_root())
    write_text(OUTPUT, page)
    stage.tracker.log_metrics({"page_mb": len(page) / 1e6})
    stage.tracker.log_artifact(OUTPUT)


def make_page(params: Params, project: Path, recorded: Path) -> str:
    """Return the page of the outputs under ``project``; runs are looked up under ``recorded``.

    Raises:
        UserError: a table is damaged or missing.
    """
    tables = {name: _read_table(project / "tables" / name / "table.json", f"tables@{name}") for name in params.tables}
    corpora = " and ".join(dict.fromkeys((params.roles.source, params.roles.target)))
    sections = {
        "tables": ("Tables", _tables(tables)),
        "phonemes": ("Phonemes", _phonemes(project, tables)),
        "listen": ("Listen", _listen(params, project, tables)),
        "training": ("Training", _training(project)),
        "units": ("Units", _units(params, project)),
        "runs": ("Run times", runs_section(read_runs(recorded))),
    }
    return document("Respeak", f"Speech-unit papers, measured at scale {params.scale} on {corpora}", sections)


def _read_table(path: Path, stage: str) -> dict[str, Any]:
    try:
        table: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); run 'dvc repro {stage}'") from None
    return table


def _tables(tables: Mapping[str, Any]) -> str:
    if not tables:
        return ""
    control = '<p><label><input type="checkbox" id="only-run"> only the rows that were run here</label></p>'
    # The tables with a system of our own are open: not those that hold nothing but anchors.
    shown = [
        table_section(name, table, any(finding["value"] is not None for finding in table["findings"]))
        for name, table in tables.items()
    ]
    return control + "".join(shown)


def _phonemes(project: Path, tables: Mapping[str, Any]) -> str:
    """Return the errors by phoneme of every table that compares them and in which more than recordings was judged."""
    sections = []
    for name, table in tables.items():
        path = project / "tables" / name / "phonemes.csv"
        if not path.is_file():
            continue
        with path.open(newline="", encoding="utf-8") as handle:
            rows = list(csv.DictReader(handle))
        if any(row["per"] and row["system"] != TRUTH for row in rows):
            sections.append(phoneme_section(table["title"], rows))
    return "".join(sections)


def _listen(params: Params, project: Path, tables: Mapping[str, Any]) -> str:
    synthesized = {name: spec for name, spec in params.experiments.items() if (project / "synthesize" / name).is_dir()}
    labels = {name: describe(name, spec) for name, spec in synthesized.items()}
    sentences = read_sentences(params, project, labels, _verdicts(params, tables))
    if not sentences:
        return f"<p>No sentence takes less than {params.report.max_audio_mb:g} MB of audio in every system.</p>"
    shown = "".join(listen_section(sentence, params.kmeans.k) for sentence in sentences)
    size = sum(sentence.size for sentence in sentences) / 1e6
    return (
        f'<p class="hint">{CHOSEN} '
        "Keys <kbd>1</kbd> to <kbd>9</kbd> play and stop the systems of the sentence last used. "
        'Spectrograms reach from 0 to 8 kHz; below them F0 from 60 to 400 Hz:<i class="key source"></i>the source'
        '<i class="key system"></i>this clip.</p>'
        f'{shown}<p class="caption">{size:.1f} MB of audio, of at most {params.report.max_audio_mb:g}; what it was '
        "heard as is the recogniser's opinion.</p>"
    )


def _verdicts(params: Params, tables: Mapping[str, Any]) -> dict[str, str]:
    """Return the experiments that any table calls not intelligible."""
    called: dict[str, str] = {}
    for name, table in tables.items():
        paper = find_table(name, params.tables[name].paper).paper
        played = {f"paper:{row.label}": row.experiments.values() for row in paper.rows}
        for row in table["rows"]:
            if NOT_INTELLIGIBLE in row["note"]:
                called |= dict.fromkeys(played.get(row["name"], [row["name"]]), NOT_INTELLIGIBLE)
    return called


def _training(project: Path) -> str:
    """Draw loss curves of every training, training and validation loss of one name in one chart."""
    charts = []
    for path in sorted([*project.glob("train_*/history.csv"), *project.glob("systems/*/history.csv")]):
        with path.open(newline="", encoding="utf-8") as handle:
            rows = list(csv.DictReader(handle))
        names = [name for name in (rows[0] if rows else {}) if "loss" in name]
        for loss in dict.fromkeys(name.split("/")[-1] for name in names):
            series = {
                name.split("/")[0]: [(float(row["step"]), float(row[name])) for row in rows if row[name]]
                for name in names
                if name.split("/")[-1] == loss
            }
            charts.append(line_chart(f"{path.parent.name}: {loss.replace('_', ' ')}", series, "step"))
    figures = "".join(f"<figure>{chart}</figure>" for chart in charts if chart)
    return f'<div class="charts">{figures}</div>' if figures else ""


def _units(params: Params, project: Path) -> str:
    """Show how often each unit is used, and what units tell of phones and of speakers."""
    counts = np.zeros(params.kmeans.k, np.int64)
    for row in read_rows(project / "data" / params.roles.source / "units", ["units"]):
        counts += np.bincount(row["units"], minlength=len(counts))
    share = counts / max(counts.sum(), 1)
    perplexity = float(np.exp(-np.sum(share[share > 0] * np.log(share[share > 0]))))
    use = bar_chart("use of the units, % of frames", (100 * np.sort(share)[::-1]).tolist(), "unit, by use")
    quality = project / "unit_quality"
    table = _read_table(quality / "table.json", "unit_quality")
    charts = "".join(f"<figure>{chart}</figure>" for chart in (use, *_quality_charts(table)) if chart)
    return (
        f'<div class="charts">{charts}</div><p class="caption">'
        f"{np.count_nonzero(counts)} of {len(counts)} units are used on {params.roles.source}; perplexity "
        f"{perplexity:.1f} ({len(counts)} if all were used alike).</p>"
        f"{_phones(quality / 'phones.png') if _has(table, 'pnmi') else ''}"
        f"{table_section('unit_quality', table, is_open=True)}"
    )


def _quality_charts(table: Mapping[str, Any]) -> Iterator[str]:
    """Yield a chart of each measure over the size of the codebook, a line for each encoder and normalisation."""
    for column in table["columns"]:
        series: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for row in table["rows"]:
            codebook, _, size = row["name"].rpartition("/K=")
            value = row["cells"].get(column["name"], {}).get("value")
            if codebook and value is not None:
                series[codebook.replace("/", ", ")].append((float(size), value))
        yield line_chart(column["heading"], {name: sorted(points) for name, points in series.items()}, "units")


def _phones(picture: Path) -> str:
    return (
        f'<figure class="wide"><div class="scroll" tabindex="0" role="region" aria-label="phones and units">'
        f'<img src="{data_url("image/png", picture.read_bytes())}" alt="how likely each phone is, given the unit">'
        "</div><figcaption>What the units in use say of phones, on held-out frames</figcaption></figure>"
    )


def _has(table: Mapping[str, Any], column: str) -> bool:
    return any(row["cells"].get(column, {}).get("value") is not None for row in table["rows"])


if __name__ == "__main__":
    stage_main("report", run, Params)
