"""Section ``report``: the page."""

from __future__ import annotations

from dataclasses import dataclass

from stages.params.schema import positive


@dataclass(frozen=True)
class Report:
    """The page: how many sentences can be heard, and the most megabytes of audio it may hold."""

    sentences: int
    max_audio_mb: float

    def __post_init__(self) -> None:
        positive(self, "sentences", "max_audio_mb")


SECTIONS = {"report": Report}
