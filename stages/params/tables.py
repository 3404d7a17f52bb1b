"""Section ``tables``: which papers' tables have experiments of their own."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PaperTable:
    """A table of ``stages.papers.registry``, and the module of ``stages.papers`` that holds the paper's values.

    Its experiments are those that name it, and those that every table has (``common``).
    """

    paper: str


SECTIONS = {"tables": dict[str, PaperTable]}
