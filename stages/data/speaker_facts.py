"""Facts of each speaker (F0 statistics, mean d-vector, content frames) and of each unit (voicing), for a bundle."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from speech.rates import F0_HOP, UNIT_HOP
from speech.storage.shards import read_rows, shard_paths, zip_shards

F0_PER_UNIT = UNIT_HOP // F0_HOP


@dataclass(frozen=True)
class SpeakerFacts:
    """Facts by speaker name.

    Attributes:
        f0: statistics as in ``f0_stats.json``.
        vectors: mean d-vector ``(256,)`` of unit length.
        frames: mean and deviation ``(2, D)`` of the encoder's frames.
    """

    f0: dict[str, Any]
    vectors: dict[str, np.ndarray]
    frames: dict[str, np.ndarray]


def read_speakers(corpora: Sequence[Path], speakers: Iterable[str]) -> SpeakerFacts:
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
    return SpeakerFacts(
        {name: f0[name] for name in names},
        {name: vectors[name] for name in names if name in vectors},
        {name: frames[name] for name in names if name in frames},
    )


def mean_vectors(directory: Path) -> dict[str, np.ndarray]:
    """Average the d-vectors of each speaker's utterances, scaled to unit length: ``(256,)`` float32 by name."""
    sums: dict[str, np.ndarray] = {}
    for row in read_rows(directory, ["speaker", "embedding"]):
        sums[row["speaker"]] = sums.get(row["speaker"], 0.0) + row["embedding"].astype(np.float64)
    lengths = {name: float(np.linalg.norm(total)) for name, total in sums.items()}
    return {name: (total / lengths[name]).astype(np.float32) for name, total in sums.items() if lengths[name] > 0}


def unit_voicing(corpora: Sequence[Path], num_units: int) -> np.ndarray:
    """Return the share of each unit's training frames that is voiced: ``(num_units,)`` float32, 0 where it has none."""
    frames, voiced = np.zeros(num_units), np.zeros(num_units)
    for corpus in corpora:
        for audio in shard_paths(corpus / "audio"):
            shards = [audio, corpus / "units" / audio.name, corpus / "f0" / audio.name]
            for source, units_row, f0_row in zip_shards(*shards, columns=[["id", "split"], None, None]):
                if source["split"] != "train":
                    continue
                units = units_row["units"].astype(np.int64)
                track = f0_row["f0"][: len(units) * F0_PER_UNIT].reshape(-1, F0_PER_UNIT) > 0
                frames += np.bincount(units[: len(track)], minlength=num_units)
                voiced += np.bincount(units[: len(track)], track.mean(1), minlength=num_units)
    return (voiced / np.maximum(frames, 1)).astype(np.float32)
