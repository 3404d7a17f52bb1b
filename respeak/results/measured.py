"""Measurements of several systems by the same judges: cells, verdicts and claims of their table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from respeak.results.paired import Paired
from respeak.results.table import NOT_INTELLIGIBLE, Cell, Finding
from speech.judges.settings import ASR
from speech.metrics.bootstrap import Interval

# What bounds the judges: the recordings themselves, and speech that cannot be understood.
TRUTH, SHUFFLED, UNTRAINED = "ground_truth", "shuffled", "untrained"

_LANGUAGES = {
    "words": "a grammar of the corpus's words",
    "sentences": "a grammar of the corpus's own sentences",
    "lm": "a language model of the corpus's own sentences",
}


@dataclass(frozen=True)
class Measured:
    """Metrics of systems by name, and their paired differences."""

    metrics: Mapping[str, Mapping[str, float]]
    paired: Paired

    def cell(self, system: str, metric: str) -> Cell | None:
        """Return a value with its interval; None where it was not measured."""
        if metric == "wer_difference":
            difference = self.paired(system, TRUTH) if system != TRUTH else None
            return Cell(difference.value, difference.low, difference.high) if difference else None
        found = self.metrics.get(system, {})
        if metric not in found:
            return None
        return Cell(found[metric], found.get(f"{metric}_low"), found.get(f"{metric}_high"))

    def verdict(self, system: str) -> str:
        """Return ``not intelligible``, or nothing."""
        versus = self.paired(system, SHUFFLED)
        if versus is None:
            return ""
        # What is shuffled differs from itself by exactly zero: it is not intelligible by definition. It may be heard
        # as more words than the text has, so that silence would have fewer errors: 100 %.
        silent = self.metrics.get(system, {}).get("wer_high", 0.0) >= 100.0
        return NOT_INTELLIGIBLE if versus.high >= 0 or silent else ""

    def settle(self, claim: Claim) -> Finding:
        """Return what becomes of a claim."""
        difference = self.paired(claim.better, claim.worse, claim.metric)
        if difference is None:
            return Finding(claim.words, "not run")
        return Finding(claim.words, _answer(difference), difference.value, difference.low, difference.high)


@dataclass(frozen=True)
class Claim:
    """A claim that ``better`` has a lower ``metric`` than ``worse``; settled by the paired bootstrap."""

    better: str
    worse: str
    metric: str
    words: str


def name_recogniser(asr: ASR) -> str:
    """Return the recogniser and the language that it may hear, in words."""
    own = "its own language model" if asr.judge == "pocketsphinx" else "no language given"
    model = getattr(asr, "model", "")
    return f"{asr.judge}{f' {model}' if model else ''}, {_LANGUAGES.get(asr.mode, own)}"


def _answer(difference: Interval) -> str:
    if not math.isfinite(difference.low) or difference.low <= 0 <= difference.high:
        return "not shown"
    return "yes" if difference.high < 0 else "no"
