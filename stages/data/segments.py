"""Training segments of several corpora: audio, units and F0 cut at the same places.

Training is one endless stream of utterances: position *p* is utterance ``p % N`` of epoch ``p // N``, and step *s*
takes the next ``batch_size`` positions. So an epoch neither loses nor repeats an utterance, batches never run short,
and any number of ranks see the same batches.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from speech.audio.waveforms import decode_audio, quantise
from speech.errors import UserError
from speech.pitch import location_scale, normalise_f0
from speech.rates import F0_HOP, UNIT_HOP
from speech.storage.shards import read_group
from stages.data.batches import Batches, own_share, validation_steps
from stages.data.utterance_index import (
    WINDOW_GROUPS,
    CorpusStreams,
    Stream,
    UtteranceIndex,
    build_index,
    epoch_order,
)

if TYPE_CHECKING:
    from stages.params.training import Loop

ALIGNMENT = 1280  # samples: what frames of units, of F0 and of F0's tokens all divide
CACHE_BYTES = 256 * 2**20

_COLUMNS: dict[Stream, list[str]] = {
    "audio": ["id", "audio"],
    "units": ["id", "units"],
    "f0": ["id", "f0"],
    "speakers": ["id", "embedding"],
}
# Samples per value; a d-vector is of the whole utterance.
_HOPS: dict[Stream, int] = {"audio": 1, "units": UNIT_HOP, "f0": F0_HOP}


@dataclass(frozen=True)
class Cut:
    """Settings by which segments are cut.

    Attributes:
        samples: their length at 16 kHz, a multiple of 1280.
        normalise: F0 in Hz or log Hz, by the speaker's statistics.

    Raises:
        UserError: another length.
    """

    samples: int
    normalise: Literal["hz", "log"]

    def __post_init__(self) -> None:
        if self.samples % ALIGNMENT:
            raise UserError(f"params.yaml: segment_samples must be a multiple of {ALIGNMENT}, not {self.samples}")


class SegmentReader:
    """Reader of an index's utterances: a few row groups at a time, and decoded audio as int16 up to a stated budget."""

    def __init__(self, index: UtteranceIndex, normalise: Literal["hz", "log"], cache_bytes: int = CACHE_BYTES) -> None:
        self.index = index
        self.normalise = normalise
        self._groups: OrderedDict[int, dict[Stream, dict[str, Any]]] = OrderedDict()
        self._audio: dict[int, np.ndarray] = {}
        self._budget = cache_bytes

    def read(self, number: int) -> dict[Stream, np.ndarray]:
        """Read the streams of one utterance.

        Returns:
            Audio ``(T,)`` int16, units ``(T / 320,)`` int64, F0 ``(T / 80,)`` normalised, and the d-vector ``(256,)``.

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
        """Return mean and deviation of the voiced F0 of an utterance's speaker, by which `read` normalises."""
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


def cut_segment(streams: dict[Stream, np.ndarray], samples: int, rng: np.random.Generator) -> dict[Stream, np.ndarray]:
    """Cut a random segment on the common grid of 1280 samples; a shorter utterance is repeated until long enough."""
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
    """Return the samples that all streams cover."""
    return min(len(values) * _HOPS[stream] for stream, values in streams.items() if stream in _HOPS)


class SegmentBatches(Batches):
    """Batches ``start`` to ``stop`` of the endless stream, as dictionaries of tensors.

    ``audio`` ``(B, 1, S)`` float32 in [-1, 1], ``units`` ``(B, S / 320)`` int64, ``f0`` ``(B, 1, S / 80)`` float32
    normalised, ``register`` ``(B, 2)`` float32 what F0 is normalised by, ``vector`` ``(B, 256)`` float32 and
    ``speaker`` ``(B,)`` int64 rows of ``speakers`` (sorted names), -1 for speakers who are not among them; streams as
    the corpora have them.
    ``batch_size`` is that of all ranks together.
    """

    divisible = True

    def __init__(
        self,
        index: UtteranceIndex,
        cut: Cut,
        speakers: Sequence[str],
        batch_size: int,
        seed: int,
        stop: int,
        start: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        super().__init__(stop, start)
        if batch_size % world:
            raise UserError(f"params.yaml: batch_size {batch_size} does not divide among {world} processes")
        self.index, self.cut, self.seed, self.batch_size = index, cut, seed, batch_size
        self.rank, self.world = rank, world
        self.speaker_rows = {name: row for row, name in enumerate(speakers)}
        self._reader: SegmentReader | None = None

    def share(self, rank: int, world: int) -> None:
        """Become the part of process ``rank`` of ``world``, which divide each batch."""
        self.rank, self.world = rank, world

    def positions(self, step: int) -> range:
        """Return the places in the endless stream that this rank takes at ``step``."""
        share = self.batch_size // self.world
        first = step * self.batch_size + self.rank * share
        return range(first, first + share)

    def utterance(self, position: int) -> int:
        """Return the number of the utterance at a place in the endless stream."""
        epoch, place = divmod(position, len(self.index))
        return int(epoch_order(self.index.group.tobytes(), self.seed, epoch)[place])

    def batch(self, step: int) -> dict[str, Tensor]:
        """Return the batch of one step, the same whenever and wherever it is asked for."""
        reader = self._reader = self._reader or SegmentReader(self.index, self.cut.normalise, own_share(CACHE_BYTES))
        numbers = [self.utterance(position) for position in self.positions(step)]
        items = [
            cut_segment(reader.read(number), self.cut.samples, np.random.default_rng((self.seed, position, 1)))
            for number, position in zip(numbers, self.positions(step), strict=True)
        ]
        batch = _collate(items, [self.speaker_rows.get(self.index.speaker[number], -1) for number in numbers])
        if "f0" in batch:
            batch["register"] = torch.tensor([reader.register(number) for number in numbers])
        return batch


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


def training_and_validation(
    corpora: Sequence[CorpusStreams], cut: Cut, loop: Loop, seed: int, known_only: bool = False
) -> tuple[SegmentBatches, SegmentBatches]:
    """Return the batches of a training on the corpora, and those of one validation.

    Rows of speakers are those of the training split, sorted by name. With ``known_only`` the validation leaves out
    speakers who are not among them.

    Raises:
        UserError: as `build_index` does.
    """
    train = build_index(corpora, "train")
    speakers = train.speakers
    valid = build_index(corpora, "valid", speakers if known_only else None)
    checks = validation_steps(len(valid), loop.batch_size)
    return (
        SegmentBatches(train, cut, speakers, loop.batch_size, seed, loop.steps),
        SegmentBatches(valid, cut, speakers, loop.batch_size, seed, checks),
    )
