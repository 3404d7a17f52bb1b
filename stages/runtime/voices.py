"""What a bundle knows of each speaker: F0 statistics, a mean d-vector and the statistics of content frames."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from speech.shards import read_rows


@dataclass(frozen=True)
class Voices:
    """By speaker name: ``f0`` as in f0_stats.json, ``vectors`` (256,) of unit length, ``frames`` (2, D)."""

    f0: dict[str, Any]
    vectors: dict[str, np.ndarray]
    frames: dict[str, np.ndarray]


def read_voices(corpora: Sequence[Path], speakers: Iterable[str]) -> Voices:
    """Gather the speakers of several corpora, in the order given; an earlier corpus wins over a later one."""
    f0: dict[str, Any] = {}
    vectors: dict[str, np.ndarray] = {}
    frames: dict[str, np.ndarray] = {}
    for corpus in reversed(corpora):
        f0 |= json.loads((corpus / "f0_stats.json").read_text(encoding="utf-8"))
        vectors |= mean_vectors(corpus / "speakers")
        if (path := corpus / "units" / "frame_stats.safetensors").is_file():
            frames |= load_file(path)
    names = list(speakers)
    return Voices(
        {name: f0[name] for name in names},
        {name: vectors[name] for name in names if name in vectors},
        {name: frames[name] for name in names if name in frames},
    )


def mean_vectors(directory: Path) -> dict[str, np.ndarray]:
    """Mean d-vector of each speaker's utterances, scaled to unit length: ``(256,)`` float32 by name."""
    sums: dict[str, np.ndarray] = {}
    for row in read_rows(directory, ["speaker", "embedding"]):
        sums[row["speaker"]] = sums.get(row["speaker"], 0.0) + row["embedding"].astype(np.float64)
    lengths = {name: float(np.linalg.norm(total)) for name, total in sums.items()}
    return {name: (total / lengths[name]).astype(np.float32) for name, total in sums.items() if lengths[name] > 0}
