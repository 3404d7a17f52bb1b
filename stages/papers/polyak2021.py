"""Values of Polyak et al. 2021, "Speech Resynthesis from Discrete Disentangled Self-Supervised Representations".

Interspeech 2021, arXiv 2104.00355, Tables 1 and 2, read from the ar5iv HTML rendering. The rendering flattens tables;
rows were put together again and agree with the values the paper's prose repeats. For the ground-truth (GT) rows the
order of the two data sets could not be confirmed that way. Percent, lower is better. MOS is from human listeners:
mean and 95 % half-width. ``flat_vde`` and ``flat_ffe`` (Table 2, right) are of speech whose F0 was flattened, against
the original F0, where *higher* is better: another quantity than VDE and FFE of converted speech.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CITATION = "Polyak et al. 2021"
DIGITS = 2
JUDGES = (
    "a wav2vec 2.0 recogniser and a VoxCeleb2 d-vector speaker verifier, on LJSpeech and VCTK, with full-size models"
)


@dataclass(frozen=True)
class PaperRow:
    """One row of a published table; ``values`` by metric name."""

    data: str
    method: str
    values: dict[str, float]

    @property
    def note(self) -> str:
        """What a reader must know about the row."""
        return "data set as reconstructed" if self.method == "GT" else ""

    @property
    def label(self) -> str:
        """As shown in our tables."""
        return f"{self.method}, {self.data} ({CITATION})"


def _resynthesis(data: str, method: str, *cells: float | None) -> PaperRow:
    return _row(data, method, ("per", "wer", "vde", "ffe", "eer", "mos", "mos_half_width"), cells)


def _conversion(data: str, method: str, *cells: float | None) -> PaperRow:
    return _row(data, method, ("per", "wer", "eer", "mos", "mos_half_width", "flat_vde", "flat_ffe"), cells)


def _row(data: str, method: str, names: tuple[str, ...], cells: tuple[float | None, ...]) -> PaperRow:
    return PaperRow(data, method, {n: v for n, v in zip(names, cells, strict=True) if v is not None})


TABLE_1 = (
    _resynthesis("LJ", "GT", 6.93, 5.60, None, None, None, 4.33, 0.20),
    _resynthesis("LJ", "CPC", 9.66, 8.51, 13.48, 15.19, None, 3.31, 0.33),
    _resynthesis("LJ", "HuBERT", 9.52, 6.96, 13.09, 15.00, None, 3.66, 0.33),
    _resynthesis("LJ", "VQ-VAE", 12.77, 8.85, 7.19, 8.54, None, 3.66, 0.31),
    _resynthesis("VCTK", "GT", 17.16, 4.32, None, None, 3.25, 4.08, 0.66),
    _resynthesis("VCTK", "CPC", 23.01, 14.49, 10.56, 11.13, 4.25, 3.33, 0.61),
    _resynthesis("VCTK", "HuBERT", 19.66, 11.44, 9.77, 10.43, 5.79, 3.41, 0.66),
    _resynthesis("VCTK", "VQ-VAE", 31.97, 19.80, 5.20, 5.59, 4.28, 3.39, 0.58),
)
TABLE_2 = (
    _conversion("VCTK", "GT", 17.16, 4.32, 3.25, 4.11, 0.29, None, None),
    _conversion("to LJ", "CPC", 22.22, 16.11, 0.46, 3.57, 0.15, 46.68, 48.71),
    _conversion("to LJ", "HuBERT", 19.09, 12.23, 0.31, 3.71, 0.24, 39.20, 48.42),
    _conversion("to LJ", "VQ-VAE", 40.88, 36.96, 9.65, 2.90, 0.17, 10.54, 12.08),
    _conversion("to VCTK", "CPC", 23.58, 15.98, 4.83, 3.42, 0.24, 25.29, 26.97),
    _conversion("to VCTK", "HuBERT", 20.85, 12.72, 6.01, 3.58, 0.28, 23.46, 26.67),
    _conversion("to VCTK", "VQ-VAE", 36.88, 29.44, 11.56, 3.08, 0.34, 7.03, 7.80),
)


def rows_for(task: Literal["resynthesis", "conversion"]) -> tuple[PaperRow, ...]:
    """The published rows of the table about ``task``."""
    return TABLE_1 if task == "resynthesis" else TABLE_2
