"""Sections ``experiments`` and ``synthesize``: what is synthesized and judged, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from speech.errors import UserError
from stages.params.checks import COMMON
from stages.params.corpora import Corpus, Roles
from stages.params.runtime import Common
from stages.params.schema import positive


@dataclass(frozen=True)
class Experiment:
    """One thing synthesized and judged: a system's task on the test split, or the recordings themselves.

    ``vocode``: a system's vocoder synthesizes from the recording's own log-mel. ``source``: a corpus; empty: that in
    role source. ``units``: ``deduplicated`` ones last as long as the system thinks, the melody stretched to fit.
    ``voices``: of the target corpus, those that the system was trained on or those that it was not. ``melody``: the
    utterance's own, or another one's; ``semitones`` higher, and ``span`` times as wide (0: flat). ``table``: whose rows
    it fills, or ``common``: every table's. ``code``: folder of the networks that make it, which DVC watches;
    by default it stands for none.
    """

    system: str
    input: str
    task: Literal["copy", "vocode", "resynthesis", "conversion"]
    units: Literal["own", "shuffled", "deduplicated"]
    weights: Literal["trained", "untrained"]
    voices: Literal["seen", "unseen"] = "seen"
    melody: Literal["own", "other"] = "own"
    semitones: float = 0.0
    span: float = 1.0
    source: str = ""
    table: str = COMMON
    code: str = "models/__init__.py"

    def __post_init__(self) -> None:
        if self.task != "conversion" and self.voices != "seen":
            raise ValueError(
                f"voices '{self.voices}' are those that a conversion is made to; the task is '{self.task}'"
            )
        if self.task in ("copy", "vocode") and (self.melody, self.semitones, self.span) != ("own", 0.0, 1.0):
            raise ValueError("a copy has its own melody: melody, semitones and span are for a system's tasks")
        if self.task in ("copy", "vocode") and self.units != "own":
            raise ValueError(f"task '{self.task}' needs no units: set them to own")
        if not self.span >= 0:
            raise ValueError(f"span must be at least 0, not {self.span}")


@dataclass(frozen=True)
class Synthesize:
    """The share of the test split that is synthesized."""

    max_utterances: int
    targets_per_utterance: int

    def __post_init__(self) -> None:
        positive(self, "max_utterances", "targets_per_utterance")


@dataclass(frozen=True)
class ExperimentParams(Common):
    """The parameters of a stage that goes by experiments."""

    roles: Roles
    corpora: Annotated[dict[str, Corpus], "their names alone, which an experiment's source must be among"]
    experiments: dict[str, Experiment]

    def source_of(self, experiment: str) -> Path:
        """Return the folder of the corpus that an experiment synthesizes.

        Raises:
            UserError: there is no such corpus.
        """
        source = self.experiments[experiment].source or self.roles.source
        if source not in self.corpora:
            known = ", ".join(self.corpora)
            raise UserError(f"params.yaml: experiments.{experiment}.source names '{source}', but corpora has {known}")
        return Path("data") / source


SECTIONS = {"experiments": dict[str, Experiment], "synthesize": Synthesize}
