"""The form of a published table: its columns, its rows in the paper's order, and who plays each row here.

A paper is a module beside this one: its values, where they were read, and ``TABLES``, an :class:`Entry` for each table
by the name that it has in ``params.yaml``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from respeak.results.measured import SHUFFLED, TRUTH, UNTRAINED, Claim
from respeak.results.table import Cell

FILES = ("table.md", "table.csv", "table.tex", "table.json")
PHONEME_FILES = ("phonemes.csv", "phonemes.svg")
PLOTS, PHONEME_PLOTS = ("measured.csv",), ("phonemes.png",)
# The same judges on what bounds them: the recordings themselves, and speech that cannot be understood.
ANCHORS = {TRUTH: "ground truth", SHUFFLED: "shuffled units", UNTRAINED: "untrained model"}

# What stands where the paper gives no number that may be quoted.
NOT_VERIFIED = "not verified"
ONLY_IN_A_FIGURE = "only in a figure"

# A number, a mean with its 95 % half-width, words in place of a number, or nothing.
Value = float | tuple[float, float] | str | None


@dataclass(frozen=True)
class PaperColumn:
    """A published column: our name for the metric, the heading with its unit, the decimals it is printed with.

    ``human`` marks listening tests. ``group`` tells apart columns of one metric that different experiments fill.
    """

    metric: str
    heading: str
    digits: int = 2
    human: bool = False
    group: str = ""

    @property
    def name(self) -> str:
        """The column's name, unique in its table."""
        return f"{self.metric}_{self.group}" if self.group else self.metric


@dataclass(frozen=True)
class PaperRow:
    """One published row; ``experiments`` are those that play it here, by the columns' group."""

    label: str
    values: tuple[Value, ...]
    experiments: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class PaperTable:
    """A published table; ``judges`` and ``remarks`` are what a reader must know before comparing.

    ``phonemes``: published error rates of single phonemes in percent, by the experiment that plays the system here.
    """

    title: str
    citation: str
    judges: str
    columns: Sequence[PaperColumn]
    rows: Sequence[PaperRow]
    remarks: str = ""
    phonemes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def cells(self, row: PaperRow) -> dict[str, Cell]:
        """Return the row's published cells by column name; what the paper leaves empty is left out."""
        return {
            column.name: _cell(value, column.digits)
            for column, value in zip(self.columns, row.values, strict=True)
            if value is not None
        }


@dataclass(frozen=True)
class Entry:
    """A published table and what is made of it here.

    Attributes:
        paper: the table as published.
        tolerance: by metric, in its unit, of our values against the paper's.
        claims: the paper's, each settled by a paired difference.
        phonemes: the experiments that are compared phoneme by phoneme.
        configs: Hydra overrides that make it at the paper's size.
    """

    paper: PaperTable
    tolerance: Mapping[str, float] = field(default_factory=dict)
    claims: tuple[Claim, ...] = ()
    phonemes: tuple[str, ...] = ()
    configs: tuple[str, ...] = ("scale=paper",)

    @property
    def files(self) -> tuple[str, ...]:
        """The files that are written for it."""
        return (*FILES, *PHONEME_FILES) if self.phonemes else FILES

    @property
    def plots(self) -> tuple[str, ...]:
        """The files that are plotted of it."""
        return (*PLOTS, *PHONEME_PLOTS) if self.phonemes else PLOTS

    @property
    def experiments(self) -> tuple[str, ...]:
        """The experiments that play a row of the paper, and the anchors, whether they are run or not."""
        played = [name for row in self.paper.rows for name in row.experiments.values()]
        return tuple(dict.fromkeys([*played, *ANCHORS]))


def beats(better: str, worse: str, metric: str, words: str = "") -> Claim:
    """Return the claim that ``better`` has less of an error than ``worse``."""
    return Claim(better, worse, metric, words or f"{better} beats {worse} in {metric.upper()}")


def row(label: str, *values: Value, plays: str | Mapping[str, str] = "", note: str = "") -> PaperRow:
    """Return a row with its values in the order of the columns; ``plays`` names the experiment that is ours."""
    experiments = {"": plays} if isinstance(plays, str) and plays else plays or {}
    assert not isinstance(experiments, str), "an empty name is no experiment"
    return PaperRow(label, values, experiments, note)


def _cell(value: float | tuple[float, float] | str, digits: int) -> Cell:
    if isinstance(value, str):
        return Cell(None, text=value)
    if isinstance(value, tuple):
        mean, half_width = value
        return Cell(mean, digits=digits, text=f"{mean:.{digits}f} \N{PLUS-MINUS SIGN} {half_width:.{digits}f}")
    return Cell(value, digits=digits)
