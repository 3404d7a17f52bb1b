"""The table and the page of folders that were judged: one row for each, the references first."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

from respeak.page.clips import CHOSEN, Clip, Sentence, choose
from respeak.page.document import document
from respeak.page.sections import listen_section, phoneme_section, table_section
from respeak.results.columns import MEASURED
from respeak.results.measured import TRUTH, Claim, Measured
from respeak.results.phoneme_table import phoneme_rows
from respeak.results.phoneme_table import to_csv as phonemes_csv
from respeak.results.table import Row, Table, to_json
from speech.audio.decode import IsolatedDecoder
from speech.pitch import extract_f0

CAPTION = (
    "{utterances} utterances, {texts} with text, {references} with a reference. In brackets: 95 % bootstrap intervals "
    "over utterances, {bootstrap} resamples. Judges: {judges}. {floor}An en dash: not measured."
)
FLOOR = "The row of the references is what these judges make of the recordings themselves. "
RATES = ("wer", "per", "ffe")


def make_table(title: str, labels: Mapping[str, str], measured: Measured, context: Mapping[str, Any]) -> Table:
    """Return the table; claims compare every two systems by the paired bootstrap.

    Args:
        title: above it.
        labels: what each system is called, by its name in ``measured``.
        measured: the results.
        context: what the caption states, with ``judges`` in words by kind.
    """
    columns = [column for column in MEASURED if any(measured.cell(name, column.name) for name in labels)]
    rows = [
        Row(name, label, "measured", {c.name: cell for c in columns if (cell := measured.cell(name, c.name))})
        for name, label in labels.items()
    ]
    systems = [name for name in labels if name != TRUTH]
    claims = [
        Claim(one, other, rate, f"{labels[one]} beats {labels[other]} in {rate.upper()}")
        for one, other in combinations(systems, 2)
        for rate in RATES
        if measured.paired(one, other, rate)
    ]
    judges = "; ".join(f"{kind}: {words}" for kind, words in context["judges"].items())
    caption = CAPTION.format(**{**context, "judges": judges, "floor": FLOOR if TRUTH in labels else ""})
    return Table(title, caption, columns, rows, dict(context), [measured.settle(claim) for claim in claims])


def make_page(
    table: Table,
    recordings: Mapping[str, Mapping[str, Path]],
    rows: Mapping[str, Sequence[Mapping[str, Any]]],
    phonemes: str,
    sentences: int,
    f0: Mapping[str, Any],
) -> str:
    """Return the page: table, errors by phoneme, and some sentences in every system.

    Args:
        table: of :func:`make_table`.
        recordings: by system and utterance.
        rows: of :data:`speech.metrics.summary.UTTERANCES`, by system.
        phonemes: lines of ``phonemes.csv``.
        sentences: how many can be heard.
        f0: keyword arguments of :func:`speech.pitch.extract_f0`.
    """
    labels = {row.name: row.label for row in table.rows}
    judged = {system: {row["id"]: row for row in found} for system, found in rows.items()}
    common = set.intersection(*(set(found) for found in judged.values()))
    first = next(iter(judged.values()))
    truth = judged.get(TRUTH, {})
    offered = [
        Sentence(
            name,
            labels[next(iter(judged))],
            first[name].get("reference") or "",
            first[name]["seconds"],
            truth[name]["word_errors"] / truth[name]["words"] if name in truth and truth[name]["words"] else None,
        )
        for name in sorted(common)
    ]
    heard = [_heard(sentence, recordings, judged, labels, f0) for sentence in choose(offered, sentences)]
    how = f'<p class="hint">{CHOSEN}</p>' if truth else ""
    sections = {
        "tables": ("Tables", table_section("evaluated", to_json(table), is_open=True)),
        "phonemes": ("Phonemes", phoneme_section("all systems", list(csv.DictReader(io.StringIO(phonemes))))),
        "listen": ("Listen", how + "".join(listen_section(sentence, 0) for sentence in heard)),
    }
    return document("Respeak", table.title, sections)


def phonemes_of(labels: Mapping[str, str], folder: Path, resamples: int, seed: int) -> str:
    """Return the lines of ``phonemes.csv`` for every system, from ``<folder>/<system>/utterances.parquet``."""
    files = {name: folder / name / "utterances.parquet" for name in labels}
    return phonemes_csv(phoneme_rows(labels, files, {}, resamples, seed))


def _heard(
    sentence: Sentence,
    recordings: Mapping[str, Mapping[str, Path]],
    judged: Mapping[str, Mapping[str, Mapping[str, Any]]],
    labels: Mapping[str, str],
    f0: Mapping[str, Any],
) -> Sentence:
    from speech.audio.waveforms import encode_audio, resample

    clips: list[Clip] = []
    with IsolatedDecoder() as decoder:
        for system, rows in judged.items():
            wave = resample(*decoder.read(recordings[system][sentence.id]))
            row, contour = rows[sentence.id], extract_f0(wave, **f0)
            heard = (row.get("hypothesis"), row.get("word_errors"), row.get("words"))
            clips.append(Clip(labels[system], sentence.speaker, encode_audio(wave, "flac"), *heard, f0=contour))
    reference = clips[0].f0 if next(iter(judged)) == TRUTH else None
    return replace(sentence, clips=clips, f0=reference)
