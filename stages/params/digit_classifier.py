"""Section ``train_digit_classifier``: the judge that is trained here."""

from __future__ import annotations

from dataclasses import dataclass

from speech.rates import SAMPLE_RATE
from stages.params.schema import positive
from stages.params.training import Loop, Optimiser


@dataclass(frozen=True)
class DigitSizes:
    """Arguments of ``models.judges.resnext.DigitClassifier``."""

    depth: int
    groups: int
    base_width: int
    widen: int
    channels: int

    def __post_init__(self) -> None:
        positive(self, "groups", "base_width", "widen", "channels")
        if self.depth < 11 or (self.depth - 2) % 9:
            raise ValueError(f"depth must be 9 n + 2, such as 11 or 29, not {self.depth}")


@dataclass(frozen=True)
class DigitVariant:
    """The corpus whose training recordings a classifier hears."""

    corpus: str


@dataclass(frozen=True)
class TrainDigitClassifier:
    """Training of digit classifiers; ``loop.segment_samples`` is the second that they hear."""

    variants: dict[str, DigitVariant]
    model: DigitSizes
    optimiser: Optimiser
    loop: Loop

    def __post_init__(self) -> None:
        if self.loop.segment_samples != SAMPLE_RATE:
            raise ValueError(f"loop.segment_samples must be 16000, one second, not {self.loop.segment_samples}")


SECTIONS = {"train_digit_classifier": TrainDigitClassifier}
