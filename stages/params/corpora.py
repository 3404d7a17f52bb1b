"""Sections ``roles`` and ``corpora``: which recordings there are, and what each corpus is for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Roles:
    """The corpora by role: to train encoder and k-means, to train systems, for target voices, to be converted."""

    encoder: str
    train: str
    target: str
    source: str


@dataclass(frozen=True)
class Corpus:
    """An adapter of ``speech.corpora``, the folder it reads, its options, and whether to fetch what is not there."""

    adapter: str
    root: str
    options: dict[str, Any] = field(default_factory=dict)
    download: bool = False


SECTIONS = {"roles": Roles, "corpora": dict[str, Corpus]}
