"""Sections of the page as HTML: tables and players."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from respeak.page.charts import f0_chart, grouped_chart, unit_timeline
from respeak.page.clips import Clip, Sentence
from respeak.page.pictures import data_url, encode_png, spectrogram
from respeak.results.table import MISSING, NOT_INTELLIGIBLE, Cell, format_cell
from speech.phonemes import PHONES
from speech.rates import SAMPLE_RATE

Json = Mapping[str, Any]
QUIET = {"not run", "human, not run", "not verified", "only in a figure", MISSING}


def table_section(name: str, table: Json, is_open: bool) -> str:
    """Write one table, folded away or open: the paper's value and ours under one heading, claims below."""
    rows = "".join(_table_row(row, table["columns"]) for row in table["rows"])
    findings = "".join(_finding(finding) for finding in table.get("findings", ()))
    claims = f'<h4>Claims</h4><ul class="claims">{findings}</ul>' if findings else ""
    ran = sum(_has_ours(row, table["columns"]) for row in table["rows"])
    return (
        f'<details class="result" id="table-{escape(name)}"{" open" if is_open else ""}>'
        f"<summary><b>{escape(table['title'])}</b> <span>{ran} of {len(table['rows'])} rows run here</span></summary>"
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(table["title"])}">'
        f"<table>{_table_head(table['columns'])}<tbody>{rows}</tbody></table></div>{claims}"
        f'<p class="caption">{escape(table["caption"])}</p></details>'
    )


def _table_head(columns: Sequence[Json]) -> str:
    rows = 2 if any(column["name"].endswith("_paper") for column in columns) else 1
    first, second = [f'<th rowspan="{rows}" scope="col">row</th>'], []
    for column in columns:
        heading = column["heading"]
        if column["name"].endswith("_paper"):
            first.append(
                f'<th colspan="2" scope="colgroup" class="pair">{escape(heading.removesuffix(" (paper)"))}</th>'
            )
            second.append('<th scope="col" class="pair">paper</th><th scope="col">ours</th>')
        elif not heading.endswith(" (ours)"):
            first.append(f'<th rowspan="{rows}" scope="col" class="pair">{escape(heading)}</th>')
    return f"<thead><tr>{''.join(first)}</tr><tr>{''.join(second)}</tr></thead>"


def _table_row(row: Json, columns: Sequence[Json]) -> str:
    cells = []
    for column in columns:
        found = row["cells"].get(column["name"])
        shown = format_cell(Cell(**found) if found else None, column["digits"])
        value, bracket, rest = shown.partition(" [")
        interval = f"<small>[{escape(rest)}</small>" if bracket else ""
        quiet = "quiet" if shown in QUIET else ""
        paper = column["name"].endswith("_paper") or not column["heading"].endswith(" (ours)")
        cells.append(f'<td class="{quiet}{" pair" if paper else ""}">{escape(value)}{interval}</td>')
    notes = [part for part in row["note"].split("; ") if part]
    note = "".join(_badge(part) if part == NOT_INTELLIGIBLE else f"<small>{escape(part)}</small>" for part in notes)
    kind = row["source"] if _has_ours(row, columns) else "absent"
    return f'<tr class="{kind}"><th scope="row">{escape(row["label"])}{note}</th>{"".join(cells)}</tr>'


def _has_ours(row: Json, columns: Sequence[Json]) -> bool:
    ours = (c["name"] for c in columns if not c["name"].endswith("_paper"))
    return any(row["cells"].get(name, {}).get("value") is not None for name in ours)


def _finding(finding: Json) -> str:
    kind = {"yes": "yes", "no": "no", "not run": "absent"}.get(finding["verdict"], "open")
    words, _, verdict = finding["sentence"].rpartition(": ")
    return f'<li class="{kind}">{escape(words)}: <b>{escape(verdict)}</b></li>'


def phoneme_section(title: str, rows: Sequence[Mapping[str, str]]) -> str:
    """Write errors by phoneme of several systems, and the paper's below them, from the lines of ``phonemes.csv``."""
    signs = {phone: sign for phone, sign in PHONES.items() if any(row["phone"] == phone for row in rows)}
    figures = []
    for column, whose in (("per", "ours"), ("paper", "the paper's")):
        series: dict[str, dict[str, float]] = {}
        for row in rows:
            if row[column]:
                series.setdefault(row["label"], {})[row["phone"]] = float(row[column])
        if chart := grouped_chart(f"PER % by phoneme, {whose}", series, signs):
            figures.append(f'<div class="scroll" tabindex="0" role="region" aria-label="{whose}">{chart}</div>')
    return (
        f'<figure class="wide"><h3>{escape(title)}</h3>{"".join(figures)}<figcaption>How often each phoneme was heard '
        "as another or not at all, of the times it was said</figcaption></figure>"
        if figures
        else ""
    )


def listen_section(sentence: Sentence, units: int) -> str:
    """Write one sentence in every system: players with spectrogram and F0; the source's units, of ``units``."""
    cards = "".join(_card(n, clip, sentence) for n, clip in enumerate(sentence.clips, 1))
    timeline = ""
    if sentence.units is not None and len(sentence.units):
        timeline = f'<figure class="timeline">{unit_timeline(sentence.units, units)}'
        timeline += f"<figcaption>Its {len(sentence.units)} units of 20 ms, a colour for each</figcaption></figure>"
    quoted = f"\N{LEFT DOUBLE QUOTATION MARK}{escape(sentence.text)}\N{RIGHT DOUBLE QUOTATION MARK}"
    return (
        f'<section class="sentence" aria-label="{escape(sentence.id)}">'
        f"<h3>{quoted if sentence.text else escape(sentence.id)} <small>said by {escape(sentence.speaker)}, "
        f"{sentence.seconds:.1f} s</small></h3>{timeline}"
        f'<div class="cards">{cards}</div></section>'
    )


def _card(number: int, clip: Clip, sentence: Sentence) -> str:
    wave = clip.wave
    contours = {"source": sentence.f0, "system": clip.f0}
    drawn = {name: f0 for name, f0 in contours.items() if f0 is not None}
    seconds = len(wave) / SAMPLE_RATE
    voice = f" in the voice of {escape(clip.voice)}" if clip.voice != sentence.speaker else ""
    badge = f" {_badge(clip.verdict)}" if clip.verdict else ""
    picture = data_url("image/png", encode_png(spectrogram(wave)))
    return (
        f'<article class="card"><h4><kbd>{number}</kbd> {escape(clip.system)}{badge}<small>{voice}</small></h4>'
        f'<audio controls preload="metadata" aria-label="{escape(clip.system)}{voice}" '
        f'src="{data_url(clip.mime, clip.audio)}"></audio>'
        f'<div class="view"><img src="{picture}" alt="spectrogram, 0 to 8 kHz, {seconds:.2f} s">'
        f'{f0_chart(seconds, drawn)}<i class="playhead"></i></div>{_heard(clip)}</article>'
    )


def _badge(text: str) -> str:
    return f'<span class="badge">{escape(text)}</span>'


def _heard(clip: Clip) -> str:
    if clip.heard is None or clip.words is None:
        return ""
    heard = escape(clip.heard) or "nothing"
    return f'<p class="heard">heard: <q>{heard}</q> <small>{clip.errors}/{clip.words} words wrong</small></p>'
