"""Training segments from the shards of several corpora: audio, units and F0 cut at the same places.

Training is one endless stream of utterances: position *p* is utterance ``p % N`` of epoch ``p // N``, in an order that
depends on the seed and the epoch alone, and step *s* takes the next ``batch_size`` positions. So an epoch neither
loses nor repeats an utterance, batches never run short, and a resumed run, any number of ranks and any number of
loader workers see the same batches. An epoch visits the row groups in random order and shuffles utterances inside a
window of a few of them, so memory does not grow with the corpus.
"""

from __future__ import annotations

import functools
import json
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from speech.audio.waveforms import decode_audio, quantise
from speech.errors import UserError
from speech.pitch import location_scale, normalise_f0
from speech.rates import F0_HOP, UNIT_HOP
from speech.storage.shards import shard_paths

ALIGNMENT = 1280
WINDOW_GROUPS = 8
CACHE_BYTES = 256 * 2**20

Stream = Literal["audio", "units", "f0", "speakers"]
_COLUMNS: dict[Stream, list[str]] = {
    "audio": ["id", "audio"],
    "units": ["id", "units"],
    "f0": ["id", "f0"],
    "speakers": ["id", "embedding"],
}
# Samples per value; a d-vector is of the whole utterance.
_HOPS: dict[Stream, int] = {"audio": 1, "units": UNIT_HOP, "f0": F0_HOP}


@dataclass(frozen=True)
class Corpus:
    """Where the stages left one corpus: ``data/<name>`` with ``audio``, ``units``, ``f0`` and ``f0_stats.json``."""

    directory: Path
    streams: tuple[Stream, ...]


@dataclass(frozen=True)
class Segment:
    """Cut length in samples of 16 kHz, and how F0 is normalised (Hz or log Hz, by speaker)."""

    samples: int
    normalise: Literal["hz", "log"]

    def __post_init__(self) -> None:
        if self.samples % ALIGNMENT:
            raise UserError(f"params.yaml: segment_samples must be a multiple of {ALIGNMENT}, not {self.samples}")


@dataclass
class Index:
    """The utterances of one split: for each its row group, its row inside, its speaker; a few bytes per utterance."""

    corpora: tuple[Corpus, ...]
    groups: list[tuple[int, str, int]] = field(default_factory=list)
    """(corpus, shard name, row group)"""
    group: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    row: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    speaker: list[str] = field(default_factory=list)
    stats: tuple[dict[str, Any], ...] = ()

    def __len__(self) -> int:
        return len(self.row)

    @property
    def speakers(self) -> list[str]:
        """Names, sorted: the order of a speaker table."""
        return sorted(set(self.speaker))


def build_index(corpora: Sequence[Corpus], split: str, known: Collection[str] | None = None) -> Index:
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
    return Index(tuple(corpora), groups, np.array(group_of, np.int32), np.array(rows, np.int32), speakers, stats)


@functools.lru_cache(maxsize=4)
def epoch_order(groups: bytes, seed: int, epoch: int) -> np.ndarray:
    """The order of an epoch's utterances, from an index's ``group`` as bytes: row groups mixed a few at a time."""
    return _shuffled(np.frombuffer(groups, np.int32), np.random.default_rng((seed, epoch)))


def _shuffled(group_of: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    members = np.split(np.arange(len(group_of)), np.flatnonzero(np.diff(group_of)) + 1)
    visit = rng.permutation(len(members))
    windows = [visit[start : start + WINDOW_GROUPS] for start in range(0, len(visit), WINDOW_GROUPS)]
    return np.concatenate([rng.permutation(np.concatenate([members[g] for g in window])) for window in windows])


class Utterances:
    """Reads utterances of an index: a few row groups at a time, and decoded audio as int16 up to a stated budget."""

    def __init__(self, index: Index, normalise: Literal["hz", "log"], cache_bytes: int = CACHE_BYTES) -> None:
        self.index = index
        self.normalise = normalise
        self._groups: OrderedDict[int, dict[Stream, dict[str, Any]]] = OrderedDict()
        self._audio: dict[int, np.ndarray] = {}
        self._budget = cache_bytes

    def read(self, number: int) -> dict[Stream, np.ndarray]:
        """Streams of one utterance: audio ``(T,)`` int16, units ``(T / 320,)``, F0 ``(T / 80,)`` normalised, d-vector.

        Raises:
            UserError: the streams are not of the same utterance, or one is shorter than the audio.
        """
        group, row = int(self.index.group[number]), int(self.index.row[number])
        corpus, shard, _ = self.index.groups[group]
        columns = self._load(group)
        ids = {table["id"][row] for table in columns.values()}
        where = f"{self.index.corpora[corpus].directory}/*/{shard}"
        if len(ids) > 1:
            raise UserError(
                f"{where}: shards do not hold the same utterances ({', '.join(sorted(ids))}); run dvc repro"
            )
        streams: dict[Stream, np.ndarray] = {}
        for stream, table in columns.items():
            if stream == "audio":
                streams[stream] = self._decode(number, table["audio"][row])
            elif stream == "f0":
                streams[stream] = self._normalised(number, corpus, table["f0"][row])
            elif stream == "units":
                streams[stream] = np.asarray(table["units"][row]).astype(np.int64)
            else:
                streams[stream] = np.asarray(table["embedding"][row], dtype=np.float32)
        length = _length(streams) // ALIGNMENT * ALIGNMENT
        if not length:
            raise UserError(f"{where}: utterance '{ids.pop()}' is shorter than {ALIGNMENT} samples")
        return {s: values[: length // _HOPS[s]] if s in _HOPS else values for s, values in streams.items()}

    def _load(self, group: int) -> dict[Stream, dict[str, Any]]:
        if group in self._groups:
            self._groups.move_to_end(group)
            return self._groups[group]
        corpus, shard, number = self.index.groups[group]
        spec = self.index.corpora[corpus]
        loaded = {s: read_group(spec.directory / s / shard, number, _COLUMNS[s]) for s in spec.streams}
        self._groups[group] = loaded
        while len(self._groups) > WINDOW_GROUPS:
            self._groups.popitem(last=False)
        return loaded

    def _decode(self, number: int, encoded: bytes) -> np.ndarray:
        if number in self._audio:
            return self._audio[number]
        samples = quantise(decode_audio(encoded))
        if samples.nbytes <= self._budget:
            self._budget -= samples.nbytes
            self._audio[number] = samples
        return samples

    def register(self, number: int) -> tuple[float, float]:
        """Mean and deviation of the voiced F0 of an utterance's speaker, by which `read` normalises."""
        corpus = self.index.groups[int(self.index.group[number])][0]
        return location_scale(self._stats(number, corpus), self.normalise)

    def _normalised(self, number: int, corpus: int, f0: np.ndarray) -> np.ndarray:
        return normalise_f0(f0, self._stats(number, corpus), self.normalise)

    def _stats(self, number: int, corpus: int) -> dict[str, Any]:
        name = self.index.speaker[number]
        stats = self.index.stats[corpus].get(name)
        if stats is None:
            raise UserError(f"{self.index.corpora[corpus].directory}/f0_stats.json: no entry for speaker '{name}'")
        return stats


def cut(streams: dict[Stream, np.ndarray], samples: int, rng: np.random.Generator) -> dict[Stream, np.ndarray]:
    """A random segment on the common grid of 1280 samples; a shorter utterance is repeated until long enough."""
    blocks = _length(streams) // ALIGNMENT
    wanted = samples // ALIGNMENT
    copies = -(-wanted // blocks)
    start = int(rng.integers(blocks * copies - wanted + 1))
    pieces: dict[Stream, np.ndarray] = {}
    for stream, values in streams.items():
        if stream not in _HOPS:
            pieces[stream] = values
            continue
        per_block = ALIGNMENT // _HOPS[stream]
        tiled = np.tile(values[: blocks * per_block], copies)
        pieces[stream] = tiled[start * per_block : (start + wanted) * per_block]
    return pieces


def _length(streams: dict[Stream, np.ndarray]) -> int:
    """Samples that all streams cover."""
    return min(len(values) * _HOPS[stream] for stream, values in streams.items() if stream in _HOPS)


class Segments(IterableDataset):
    """Batches ``start`` to ``stop`` of the endless stream, as dictionaries of tensors.

    ``audio`` ``(B, 1, S)`` float32 in [-1, 1], ``units`` ``(B, S / 320)`` int64, ``f0`` ``(B, 1, S / 80)`` float32
    normalised, ``register`` ``(B, 2)`` float32 what F0 is normalised by, ``vector`` ``(B, 256)`` float32 and
    ``speaker`` ``(B,)`` int64 rows of ``speakers`` (sorted names), -1 for speakers who are not among them; streams as
    the corpora have them.
    ``batch_size`` is that of all ranks together.
    """

    def __init__(
        self,
        index: Index,
        segment: Segment,
        speakers: Sequence[str],
        batch_size: int,
        seed: int,
        stop: int,
        start: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if batch_size % world:
            raise UserError(f"params.yaml: batch_size {batch_size} does not divide among {world} processes")
        self.index, self.segment, self.seed = index, segment, seed
        self.speaker_rows = {name: row for row, name in enumerate(speakers)}
        self.batch_size, self.start, self.stop, self.rank, self.world = batch_size, start, stop, rank, world
        self._reader: Utterances | None = None

    def __len__(self) -> int:
        return max(0, self.stop - self.start)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        worker = get_worker_info()
        offset, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        # torch asks worker 0 for the first batch, worker 1 for the second and so on.
        for step in range(self.start + offset, self.stop, stride):
            yield self.batch(step)

    def share(self, rank: int, world: int) -> None:
        """Be the part of process ``rank`` of ``world``, which divide each batch."""
        self.rank, self.world = rank, world

    def positions(self, step: int) -> range:
        """Places in the endless stream that this rank takes at ``step``."""
        share = self.batch_size // self.world
        first = step * self.batch_size + self.rank * share
        return range(first, first + share)

    def utterance(self, position: int) -> int:
        """Index of the utterance at a place in the endless stream."""
        epoch, place = divmod(position, len(self.index))
        return int(epoch_order(self.index.group.tobytes(), self.seed, epoch)[place])

    def batch(self, step: int) -> dict[str, Tensor]:
        """The batch of one step, the same whenever and wherever it is asked for."""
        if self._reader is None:
            worker = get_worker_info()
            self._reader = Utterances(
                self.index, self.segment.normalise, CACHE_BYTES // (worker.num_workers if worker else 1)
            )
        numbers = [self.utterance(position) for position in self.positions(step)]
        items = [
            cut(self._reader.read(number), self.segment.samples, np.random.default_rng((self.seed, position, 1)))
            for number, position in zip(numbers, self.positions(step), strict=True)
        ]
        batch = _collate(items, [self.speaker_rows.get(self.index.speaker[number], -1) for number in numbers])
        if "f0" in batch:
            batch["register"] = torch.tensor([self._reader.register(number) for number in numbers])
        return batch


def loader(segments: IterableDataset, workers: int) -> DataLoader:
    """Loader of whole batches in order; workers leave interrupts to the main process, which ends them itself."""
    return DataLoader(
        segments,
        batch_size=None,
        num_workers=workers,
        worker_init_fn=_ignore_signals,
        pin_memory=torch.cuda.is_available(),
    )


def read_group(path: Path, group: int, columns: Sequence[str]) -> dict[str, Any]:
    """One row group of a shard as columns; numbers as numpy arrays."""
    try:
        table = pq.ParquetFile(path, memory_map=True).read_row_group(group, columns=list(columns))
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run the stage that makes it first") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(
            f"{path}: damaged shard ({str(error).splitlines()[0]}); delete it and run 'dvc repro'"
        ) from None
    return {name: _column(table.column(name)) for name in columns}


def _column(column: pa.ChunkedArray) -> Sequence[Any]:
    if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
        return [scalar.values.to_numpy(zero_copy_only=False) for scalar in column]
    return column.to_pylist()


def _ignore_signals(worker: int) -> None:
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


def _collate(items: list[dict[Stream, np.ndarray]], speakers: list[int]) -> dict[str, Tensor]:
    batch = {stream: torch.from_numpy(np.stack([item[stream] for item in items])) for stream in items[0]}
    tensors: dict[str, Tensor] = {"speaker": torch.tensor(speakers)}
    for stream, values in batch.items():
        if stream == "units":
            tensors["units"] = values
        elif stream == "speakers":
            tensors["vector"] = values
        else:
            tensors[stream] = (values.float() / 32768 if stream == "audio" else values).unsqueeze(1)
    return tensors


def _read_stats(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run the stage f0_stats first") from None
