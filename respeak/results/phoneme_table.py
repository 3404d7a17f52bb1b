"""Error rates by phoneme of several systems, beside a paper's: rows, a CSV and a picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speech.metrics.phoneme_metrics import PhonemeRate, phoneme_rates
from speech.phonemes import PHONES
from speech.storage.files import atomic_path
from speech.storage.shards import read_shard

COLUMNS = ["phones_said", "phones_heard", "phones"]
HEADER = ["system", "label", "phone", "ipa", "said", "errors", "per", "per_low", "per_high", "paper"]


@dataclass(frozen=True)
class PhonemeRow:
    """One phoneme of one system: what was measured, and the paper's percentage; either may be missing."""

    system: str
    label: str
    phone: str
    rate: PhonemeRate | None
    paper: float | None = None

    @property
    def ipa(self) -> str:
        """Return the sign that figures show."""
        return PHONES[self.phone]


def phoneme_rows(
    labels: Mapping[str, str],
    files: Mapping[str, Path],
    paper: Mapping[str, Mapping[str, float]],
    resamples: int,
    seed: int,
) -> list[PhonemeRow]:
    """Return what there is of every phoneme of every system, in the order of :data:`speech.phonemes.PHONES`.

    Args:
        labels: of the systems, by name.
        files: ``utterances.parquet`` of those that were judged.
        paper: published percentages by system and phone.
        resamples: how many sets of utterances are drawn for the intervals.
        seed: of the draws.
    """
    rows = []
    for system, label in labels.items():
        judged = list(read_shard(files[system], COLUMNS)) if system in files else []
        rates, published = phoneme_rates(judged, resamples, seed), paper.get(system, {})
        rows += [
            PhonemeRow(system, label, phone, rates.get(phone), published.get(phone))
            for phone in PHONES
            if phone in rates or phone in published
        ]
    return rows


def to_csv(rows: Sequence[PhonemeRow]) -> str:
    """Return one line per system and phoneme; percentages unrounded, empty where there is none."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEADER)
    for row in rows:
        rate = row.rate
        ours = [rate.count, rate.errors, rate.rate.value, rate.rate.low, rate.rate.high] if rate else [""] * 5
        published = "" if row.paper is None else row.paper
        writer.writerow([row.system, row.label, row.phone, row.ipa, *ours, published])
    return out.getvalue()


def save_picture(rows: Sequence[PhonemeRow], title: str, path: Path) -> None:
    """Draw bars by phoneme, ours and below them the paper's where it has any: ``path`` with .svg and .png."""
    import matplotlib

    # SVG otherwise names its parts at random.
    with matplotlib.rc_context({"svg.hashsalt": title}):
        figure = _picture(rows, title)
        for kind, unstamped in ((".svg", {"Date": None}), (".png", {"Software": None})):
            with atomic_path(path.with_suffix(kind)) as temporary:
                figure.savefig(temporary, format=kind[1:], metadata=unstamped)


def _picture(rows: Sequence[PhonemeRow], title: str) -> Any:
    from matplotlib.figure import Figure

    panels = {"ours": {(row.label, row.phone): row.rate.rate.value for row in rows if row.rate}}
    if published := {(row.label, row.phone): row.paper for row in rows if row.paper is not None}:
        panels["the paper's"] = published
    figure = Figure(figsize=(11, 3.2 * len(panels)), layout="constrained")
    figure.suptitle(title)
    phones = [phone for phone in PHONES if any(phone == row.phone for row in rows)]
    for axis, (whose, values) in zip(figure.subplots(len(panels), squeeze=False)[:, 0], panels.items(), strict=True):
        _draw(axis, values, phones)
        axis.set_ylabel(f"PER %, {whose}")
        if not values:
            axis.set_title("no phonemes were judged", fontsize=10)
    return figure


def _draw(axis: Any, values: Mapping[tuple[str, str], float], phones: Sequence[str]) -> None:
    labels = list(dict.fromkeys(label for label, _ in values))
    width = 0.8 / max(len(labels), 1)
    for number, label in enumerate(labels):
        places = [place for place, phone in enumerate(phones) if (label, phone) in values]
        heights = [values[label, phones[place]] for place in places]
        axis.bar([place + (number + 0.5) * width - 0.4 for place in places], heights, width, label=label)
    axis.set_xticks(range(len(phones)), [PHONES[phone] for phone in phones])
    axis.margins(x=0.01)
    if labels:
        axis.legend(frameon=False, ncols=len(labels), fontsize=9, loc="lower right", bbox_to_anchor=(1.0, 1.0))  # above
