"""The gate on units: what they tell of phones and of speakers, by encoder, layer, normalisation and size of codebook.

In: the encoder corpus's ``audio`` (phone timings where it has them), ``features`` and ``units``, ``encoder/`` and
``kmeans/``. Out, in ``unit_quality/``: ``table.{md,csv,tex,json}``, ``measured.csv`` (for ``dvc plots``),
``metrics.json``, and ``phones.png`` for P(phone | unit). The first row, and the picture, are the units in use; the
others are codebooks fitted here on the training split: each stored layer of the encoder, and the signal features of
``unit_quality.baselines``. All are measured on the validation and test splits.
Measures: :mod:`speech.metrics.unit_metrics`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from respeak.results.table import Cell, Column, Row, Table, to_csv, to_json, to_latex, to_markdown, to_measured_csv
from speech.metrics.unit_metrics import UnitTally
from speech.storage.files import atomic_path, write_json, write_text
from speech.storage.shards import shard_paths, zip_shards
from speech.units import FrameNormalisation, assign, normaliser
from stages.data.extraction import Extraction
from stages.data.other_encoder import make_features, open_view
from stages.kmeans import Frames, check_size, fit, survey
from stages.params.corpora import Roles
from stages.params.features import Features
from stages.params.kmeans import KMeans
from stages.params.runtime import Common
from stages.params.unit_quality import UnitQuality
from stages.runtime.jobs import Job
from stages.runtime.stage import Stage, stage_main
from stages.units import load_kmeans, speaker_normalisers

OUTPUT = Path("unit_quality")
AUDIO = ["id", "speaker", "split", "text", "num_speech", "phones"]
COLUMNS = (
    Column("pnmi", "PNMI", 3),
    Column("phone_purity", "phone purity", 3),
    Column("cluster_purity", "cluster purity", 3),
    Column("unit_distance", "unit distance", 3),
    Column("speaker_accuracy", "speaker accuracy %"),
)
CAPTION = (
    "{utterances} held-out utterances of {corpus}, {phones} phones over {frames} frames of 20 ms, pauses among them as "
    "one. PNMI, phone purity and cluster purity as in Hsu et al. 2021: more is better. Unit distance: edit distance "
    "between two speakers' units of one text, repeats collapsed, over the length of the longer; less is better. "
    "Speaker accuracy: an utterance's unit histogram against those of the {speakers} speakers' training recordings, "
    "chance {chance:.0f} %; less is better. Small held-out sets raise PNMI, the more so the more units there are: "
    "compare rows of one K."
)


@dataclass(frozen=True)
class Source:
    """Frames to cluster: a folder like a corpus's, and the column of its features that holds a layer."""

    label: str
    folder: Path
    column: str


@dataclass(frozen=True)
class Measured:
    """One row: what was clustered how, and what was counted."""

    name: str
    label: str
    mode: str
    tally: UnitTally
    note: str = ""


@dataclass(frozen=True)
class Params(Common):
    """Sections of ``params.yaml`` that this stage reads."""

    seed: int
    roles: Roles
    features: Annotated[Features, "through data/<corpus>/features, which others are compared with"]
    kmeans: KMeans
    unit_quality: UnitQuality


def run(stage: Stage[Params]) -> None:
    """Fit, measure, and write the table."""
    corpus = Path("data") / stage.params.roles.encoder
    job = stage.job(
        [corpus / part for part in ("audio", "features", "units")] + [Path("encoder"), Path("kmeans")], OUTPUT
    )
    in_use = measure_units(stage, corpus)
    rows = [in_use, *(fit_and_measure(stage, *choice) for choice in choices(stage, job, corpus))]
    table = make_table(stage, rows)
    for name, text in (("md", to_markdown(table)), ("csv", to_csv(table)), ("tex", to_latex(table))):
        write_text(job.parts / f"table.{name}", text)
    write_json(job.parts / "table.json", to_json(table))
    write_text(job.parts / "measured.csv", to_measured_csv(table))
    write_json(job.parts / "metrics.json", metrics(stage, rows))
    figure = picture(in_use.tally)
    with atomic_path(job.parts / "phones.png") as temporary:
        figure.savefig(temporary, format="png", bbox_inches="tight", metadata={"Software": None})
    stage.tracker.log_figure("phones.png", figure)
    stage.tracker.log_metrics(metrics(stage, rows))
    stage.tracker.log_text("table.md", to_markdown(table))
    print(to_markdown(table), flush=True)
    job.publish()


def choices(stage: Stage[Params], job: Job, corpus: Path) -> Iterator[tuple[Source, FrameNormalisation, int]]:
    """Yield every codebook to be fitted: sources, normalisations and sizes."""
    spec = stage.params.unit_quality
    for source in sources(stage, job, corpus):
        for mode in spec.normalise:
            for k in spec.k:
                yield source, mode, k


def sources(stage: Stage[Params], job: Job, corpus: Path) -> Iterator[Source]:
    """Yield the stored layers of the encoder, then the baselines, whose features are made here."""
    from models.encoders import build_encoder
    from respeak.encoders.encoder_files import read_config
    from respeak.encoders.loading import save_encoder

    encoder = read_config("encoder")
    for column in layers(corpus):
        layer = column.rpartition("_")[2] if "_" in column else encoder["layer"]
        yield Source(f"{encoder['kind']}, layer {layer}" if encoder["num_layers"] else encoder["kind"], corpus, column)
    for kind in stage.params.unit_quality.baselines:
        if kind == encoder["kind"]:
            continue
        config: dict[str, Any] = {"kind": kind, "weights": "none", "options": {}}
        folder = job.scratch / kind
        save_encoder(folder / "encoder", config, build_encoder(config))
        extraction = Extraction.of(stage.params.features, folder / "encoder", stage.params.runtime.device)
        view = open_view(folder / "view", corpus)
        make_features(job, view, extraction, stage.params.features.keep)
        yield Source(kind, view, "features")


def layers(corpus: Path) -> list[str]:
    """Return columns of the corpus's features that hold frames, the encoder's own layer first."""
    import pyarrow.parquet as pq

    names = pq.read_schema(shard_paths(corpus / "features")[0]).names
    return [name for name in names if name.startswith("features")]


def measure_units(stage: Stage[Params], corpus: Path) -> Measured:
    """Measure the codebook in use, through the units that the graph made with it."""
    from respeak.encoders.encoder_files import read_config

    encoder, (centroids, config) = read_config("encoder"), load_kmeans(Path("kmeans"))
    tally = UnitTally(len(centroids))
    for audio, units in zip(shard_paths(corpus / "audio"), shard_paths(corpus / "units"), strict=True):
        for row, made in zip_shards(audio, units, columns=(AUDIO, ["id", "units"])):
            tally.add(row, made["units"])
    layer = f", layer {encoder['layer']}" if encoder["num_layers"] else ""
    label = f"{encoder['kind']}{layer}, {config['normalise']}, K={len(centroids)}"
    return Measured("in_use", label, config["normalise"], tally, "in use")


def fit_and_measure(stage: Stage[Params], source: Source, mode: FrameNormalisation, k: int) -> Measured:
    """Fit a codebook on the training split of ``source``, as the stage ``kmeans`` does, and measure it."""
    settings = dataclasses.replace(stage.params.kmeans, source="fit", k=k, normalise=mode)
    count, trained = survey(source.folder, source.column)
    check_size(settings, count, source.folder)
    frames = Frames(source.folder, mode, trained if mode == "speaker" else {}, source.column)
    centroids = fit(frames, count, settings, stage.params.seed, _Silent(), stage.params.runtime.device)
    speakers = speaker_normalisers(source.folder / "features", source.column) if mode == "speaker" else {}
    tally = UnitTally(k)
    for audio, features in zip(*(shard_paths(source.folder / part) for part in ("audio", "features")), strict=True):
        for row, made in zip_shards(audio, features, columns=(AUDIO, ["id", source.column])):
            if len(found := made[source.column]):
                tally.add(row, assign(normaliser(mode, found, speakers.get(row["speaker"]))(found), centroids))
    label = f"{source.label}, {mode}, K={k}"
    return Measured(label.replace(", layer ", "-").replace(", ", "/"), label, mode, tally)


class _Silent:
    """A tracker that keeps the series of many fits out of the stage's run."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Forget the series."""


def summary(stage: Stage[Params], measured: Measured) -> dict[str, float]:
    """Return the row's numbers by column."""
    return measured.tally.summary(np.random.default_rng(stage.params.seed), stage.params.unit_quality.pairs)


def make_table(stage: Stage[Params], rows: list[Measured]) -> Table:
    """Return a table with one row for each codebook."""
    lines = [
        Row(
            row.name,
            row.label,
            "measured",
            {name: Cell(v) for name, v in summary(stage, row).items()},
            row.note,
            f"{row.note}: {row.label}" if row.note else "",
        )
        for row in rows
    ]
    tally = rows[0].tally
    context = {
        "corpus": stage.params.roles.encoder,
        "utterances": tally.held_out,
        "frames": int(tally.counts.sum()),
        "phones": len(tally.phones),
        "speakers": len(tally.enrolled),
        "chance": 100 / max(len(tally.enrolled), 1),
        "seed": stage.params.seed,
        "scale": stage.params.scale,
    }
    return Table("Units, phones and speakers", CAPTION.format(**context), COLUMNS, lines, context)


def metrics(stage: Stage[Params], rows: list[Measured]) -> dict[str, float]:
    """Return the measures of the units in use, and how far each is above each baseline of their K and normalisation."""
    own = summary(stage, rows[0])
    differences: dict[str, float] = {}
    for kind in stage.params.unit_quality.baselines:
        rival = next((row for row in rows[1:] if row.name == f"{kind}/{rows[0].mode}/K={rows[0].tally.k}"), None)
        if rival is not None:
            other = summary(stage, rival)
            differences |= {f"{name}_over_{kind}": own[name] - other[name] for name in own.keys() & other.keys()}
    return own | dict(sorted(differences.items()))


def picture(tally: UnitTally) -> Any:
    """Draw P(phone | unit): phones by frequency, units by their likeliest phone."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6.5), layout="constrained")
    axis = figure.subplots()
    axis.set_xlabel("unit, in the order of its likeliest phone")
    axis.set_ylabel("phone, most frequent first")
    if not tally.phones:
        axis.set_title("this corpus has no phone timings")
        return figure
    order = np.argsort(-tally.counts.sum(1), kind="stable")
    shares = tally.counts[order] / np.maximum(tally.counts.sum(0), 1)
    units = np.lexsort((-shares.max(0), shares.argmax(0)))
    image = axis.imshow(shares[:, units], aspect="auto", cmap="magma", vmin=0, vmax=1, interpolation="nearest")
    axis.set_yticks(range(len(order)), [tally.phones[i] for i in order], fontsize=7)
    figure.colorbar(image, label="P(phone | unit), held-out frames")
    return figure


if __name__ == "__main__":
    stage_main("unit_quality", run, Params)
