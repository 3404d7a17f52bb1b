"""The utterances of one split of several corpora: where each lies, and in which order an epoch takes them.

An order depends on the seed and the epoch alone. An epoch visits the row groups in random order and shuffles utterances
inside a window of a few of them, so memory does not grow with the corpus.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.parquet as pq

from speech.errors import UserError
from speech.storage.shards import read_group, shard_paths

WINDOW_GROUPS = 8
Stream = Literal["audio", "units", "f0", "speakers"]


@dataclass(frozen=True)
class CorpusStreams:
    """The part of a corpus that a training reads.

    Attributes:
        directory: ``data/<name>``, where the stages left ``audio``, ``units``, ``f0``, ``speakers``, ``f0_stats.json``.
        streams: which of them.
    """

    directory: Path
    streams: tuple[Stream, ...]


@dataclass
class UtteranceIndex:
    """The utterances of one split: for each its row group, its row inside, its speaker; a few bytes per utterance.

    Attributes:
        corpora: where they lie.
        groups: (corpus, shard name, row group), each once.
        group: ``(N,)`` int32, the place in ``groups`` of each utterance.
        row: ``(N,)`` int32, its row inside the group.
        speaker: its speaker's name.
        stats: F0 statistics by speaker, of each corpus.
    """

    corpora: tuple[CorpusStreams, ...]
    groups: list[tuple[int, str, int]] = field(default_factory=list)
    group: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    row: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    speaker: list[str] = field(default_factory=list)
    stats: tuple[dict[str, Any], ...] = ()

    def __len__(self) -> int:
        return len(self.row)

    @property
    def speakers(self) -> list[str]:
        """Names of the speakers, sorted: the order of a speaker table."""
        return sorted(set(self.speaker))


def build_index(corpora: Sequence[CorpusStreams], split: str, known: Collection[str] | None = None) -> UtteranceIndex:
    """Find the utterances of ``split`` (``train`` or ``valid``), of ``known`` speakers only, without reading audio.

    Raises:
        UserError: shards or F0 statistics are missing, or no utterance has that split.
    """
    groups: list[tuple[int, str, int]] = []
    group_of: list[int] = []
    rows: list[int] = []
    speakers: list[str] = []
    for number, corpus in enumerate(corpora):
        for path in shard_paths(corpus.directory / "audio"):
            for group in range(pq.ParquetFile(path, memory_map=True).num_row_groups):
                table = read_group(path, group, ["speaker", "split"])
                names = table["speaker"]
                chosen = [
                    r for r, s in enumerate(table["split"]) if s == split and (known is None or names[r] in known)
                ]
                if chosen:
                    group_of += [len(groups)] * len(chosen)
                    rows += chosen
                    speakers += [names[row] for row in chosen]
                    groups.append((number, path.name, group))
    if not rows:
        where = ", ".join(str(corpus.directory) for corpus in corpora)
        raise UserError(f"{where}: no utterance of split '{split}'; check the corpus's split options")
    stats = tuple(_read_stats(c.directory / "f0_stats.json") if "f0" in c.streams else {} for c in corpora)
    return UtteranceIndex(
        tuple(corpora), groups, np.array(group_of, np.int32), np.array(rows, np.int32), speakers, stats
    )


@functools.lru_cache(maxsize=4)
def epoch_order(groups: bytes, seed: int, epoch: int) -> np.ndarray:
    """Return the order of an epoch's utterances, row groups mixed a few at a time.

    ``groups`` is an index's ``group`` as bytes.
    """
    return _shuffled(np.frombuffer(groups, np.int32), np.random.default_rng((seed, epoch)))


def _shuffled(group_of: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    members = np.split(np.arange(len(group_of)), np.flatnonzero(np.diff(group_of)) + 1)
    visit = rng.permutation(len(members))
    windows = [visit[start : start + WINDOW_GROUPS] for start in range(0, len(visit), WINDOW_GROUPS)]
    return np.concatenate([rng.permutation(np.concatenate([members[g] for g in window])) for window in windows])


def _read_stats(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run the stage f0_stats first") from None
