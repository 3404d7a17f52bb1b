"""Section ``encoder``: the content encoder."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Encoder:
    """The content encoder: kind, weights (``none``, ``random``, ``file``, a public name or address), layer, options."""

    kind: Literal["mfcc", "logmel", "hubert", "wav2vec2"]
    weights: str
    path: str
    sha256: str | None
    layer: int
    options: dict[str, Any] = field(default_factory=dict)


SECTIONS = {"encoder": Encoder}
