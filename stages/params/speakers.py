"""Section ``speakers``: the d-vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Speakers:
    """The judge that makes d-vectors."""

    method: Literal["resemblyzer"]


SECTIONS = {"speakers": Speakers}
