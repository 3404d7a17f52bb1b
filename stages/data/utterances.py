"""Whole utterances for training: their content and log-mel in batches of similar length, or windows of their audio.

An epoch neither loses nor repeats an utterance, and its order depends on the seed and the epoch alone.
"""

from __future__ import annotations

import functools
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor

from speech.audio.waveforms import decode_audio, quantise
from speech.errors import UserError
from speech.mel_spectrogram import MelSettings, log_mel
from speech.rates import UNIT_HOP
from speech.storage.shards import read_group
from stages.data.batches import Batches, own_share
from stages.data.utterance_index import CorpusStreams, UtteranceIndex, build_index, epoch_order

CACHE_BYTES = 256 * 2**20
# Utterances of so many batches are sorted by length before they are cut into batches: little padding, some mixing.
POOL_BATCHES = 16


@dataclass(frozen=True)
class UtteranceSet:
    """The utterances of one split of a corpus.

    Attributes:
        corpus: ``data/<name>``.
        index: where each lies.
        samples: ``(len(index),)`` int64, of each.
        settings: of the log-mels, whose hop divides that of units.
        content: the folder of shards of what is spoken, ``units``, ``soft_units`` or ``features``; or None.
        mels: folder of shards of predicted log-mels; None: those of the recordings.
    """

    corpus: Path
    index: UtteranceIndex
    samples: np.ndarray
    settings: MelSettings
    content: Path | None = None
    mels: Path | None = None

    @classmethod
    def of(
        cls, corpus: Path, split: str, settings: MelSettings, content: str | None = None, mels: Path | None = None
    ) -> UtteranceSet:
        """Find the utterances of ``split`` (``train`` or ``valid``).

        Raises:
            UserError: shards are missing, or no utterance has that split.
        """
        index = build_index([CorpusStreams(corpus, ("audio",))], split)
        samples = [
            np.asarray(read_group(corpus / "audio" / shard, group, ["num_samples"])["num_samples"])
            for _, shard, group in index.groups
        ]
        counts = np.array([samples[g][r] for g, r in zip(index.group, index.row, strict=True)], np.int64)
        return cls(corpus, index, counts, settings, corpus / content if content else None, mels)

    def __len__(self) -> int:
        return len(self.index)


class UtteranceReader:
    """Reader of utterances; audio as int16, and log-mels made from it, are kept up to a stated budget."""

    def __init__(self, utterances: UtteranceSet, cache_bytes: int = CACHE_BYTES) -> None:
        self.utterances = utterances
        self._budget = cache_bytes
        self._audio: dict[int, np.ndarray] = {}
        self._mels: dict[int, Tensor] = {}
        self._group = functools.lru_cache(maxsize=24)(_read_group)
        self._starts = functools.cache(_read_starts)

    def audio(self, number: int) -> np.ndarray:
        """Read a recording, ``(T,)`` int16 at 16 kHz."""
        if number in self._audio:
            return self._audio[number]
        samples = quantise(decode_audio(self._row(number, self.utterances.corpus / "audio", "audio")))
        if self._afford(samples.nbytes):
            self._audio[number] = samples
        return samples

    def mel(self, number: int) -> Tensor:
        """Read a predicted log-mel, or compute the recording's: ``(M, n_mels)`` float32, under all of the units."""
        if self.utterances.mels is not None:
            return torch.from_numpy(self._row(number, self.utterances.mels, "features").astype(np.float32))
        if number in self._mels:
            return self._mels[number]
        mel = log_mel(to_float(self.audio(number))[None], self.utterances.settings)[0].T.contiguous()
        if self._afford(mel.nbytes):
            self._mels[number] = mel
        return mel

    def content(self, number: int) -> np.ndarray:
        """Read units ``(N,)`` int64, or frames ``(N, D)`` float32.

        Raises:
            UserError: the shard holds other utterances than the audio's.
        """
        folder = self.utterances.content
        assert folder is not None, "these utterances were indexed without content"
        if folder.name == "units":
            return self._row(number, folder, "units").astype(np.int64)
        return self._row(number, folder, "features").astype(np.float32)

    def _afford(self, size: int) -> bool:
        affordable = size <= self._budget
        self._budget -= size if affordable else 0
        return affordable

    def _row(self, number: int, folder: Path, column: str) -> Any:
        index, corpus = self.utterances.index, self.utterances.corpus
        _, shard, group = index.groups[int(index.group[number])]
        audio, row = corpus / "audio" / shard, int(index.row[number])
        name = self._group(audio, group, "audio")["id"][row]
        # Rows of frames come in smaller groups than those of audio.
        starts = self._starts(folder / shard)
        row += self._starts(audio)[group]
        found = bisect_right(starts, row) - 1
        columns = self._group(folder / shard, found, column)
        if row - starts[found] >= len(columns["id"]) or columns["id"][row - starts[found]] != name:
            raise UserError(f"{folder / shard}: does not hold the utterances of {audio}; run 'dvc repro' again")
        return columns[column][row - starts[found]]


def _read_group(path: Path, group: int, column: str) -> dict[str, Any]:
    return read_group(path, group, ["id", column])


def _read_starts(path: Path) -> list[int]:
    """Return the first row of each row group."""
    metadata = pq.read_metadata(path)
    counts = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    return np.cumsum([0, *counts[:-1]]).tolist()


def to_float(samples: np.ndarray) -> Tensor:
    """Convert int16 samples to float32 in [-1, 1]."""
    return torch.from_numpy(samples).float() / 32768


class UtteranceBatches(Batches):
    """Batches ``start`` to ``stop`` of whole utterances, as dictionaries of tensors.

    ``content`` ``(B, N)`` int64 or ``(B, N, D)`` float32, ``mel`` ``(B, M, n_mels)`` under it, ``lengths`` ``(B,)`` in
    units and ``speaker`` ``(B,)`` rows of ``speakers``. Behind an utterance's end, units are ``padding``, all else 0.
    The last batch of an epoch may be smaller.

    Args:
        utterances: with content.
        speakers: names, in the order of the speaker table.
        batch_size: utterances of a batch.
        longest: samples of an utterance that are taken, from a random unit on.
        padding: the unit that stands for none.
        seed: of order and cuts.
        stop: the step to end before.
        start: the step to begin with.
    """

    def __init__(
        self,
        utterances: UtteranceSet,
        speakers: Sequence[str],
        batch_size: int,
        longest: int,
        padding: int,
        seed: int,
        stop: int,
        start: int = 0,
    ) -> None:
        super().__init__(stop, start)
        self.utterances, self.batch_size, self.padding, self.seed = utterances, batch_size, padding, seed
        self.longest = longest // UNIT_HOP
        self.rows = {name: row for row, name in enumerate(speakers)}
        self.per_epoch = -(-len(utterances) // batch_size)
        self._reader: UtteranceReader | None = None

    def numbers(self, step: int) -> list[int]:
        """Return the numbers of the utterances that a step takes."""
        epoch, place = divmod(step, self.per_epoch)
        return self._epoch(epoch)[place]

    def _epoch(self, epoch: int) -> list[list[int]]:
        group = self.utterances.index.group
        return _batches(group.tobytes(), self.utterances.samples.tobytes(), self.batch_size, self.seed, epoch)

    def batch(self, step: int) -> dict[str, Tensor]:
        """Return the batch of one step, the same whenever it is asked for."""
        reader = self._reader = self._reader or UtteranceReader(self.utterances, own_share(CACHE_BYTES))
        per_unit = UNIT_HOP // self.utterances.settings.hop
        contents, mels, speakers = [], [], []
        for number in self.numbers(step):
            content, mel = torch.from_numpy(reader.content(number)), reader.mel(number)
            count = min(len(content), len(mel) // per_unit)
            taken = min(count, self.longest)
            rng = np.random.default_rng((self.seed, step, number))
            first = int(rng.integers(count - taken + 1))
            contents.append(content[first : first + taken])
            mels.append(mel[per_unit * first : per_unit * (first + taken)])
            speakers.append(self.rows[self.utterances.index.speaker[number]])
        padding = 0.0 if contents[0].dim() == 2 else self.padding
        return {
            "content": torch.nn.utils.rnn.pad_sequence(contents, batch_first=True, padding_value=padding),
            "mel": torch.nn.utils.rnn.pad_sequence(mels, batch_first=True),
            "lengths": torch.tensor([len(content) for content in contents]),
            "speaker": torch.tensor(speakers),
        }


class WindowBatches(Batches):
    """Batches ``start`` to ``stop`` of random windows: ``audio`` ``(B, 1, S)`` and, of predicted mels, ``mel``.

    The latter is ``(B, n_mels, S / hop)``, under the audio. What is shorter is filled up at its end: audio with zeros,
    a log-mel with its least value.

    Raises:
        UserError: a window that is no whole number of mel frames.
    """

    def __init__(
        self, utterances: UtteranceSet, samples: int, batch_size: int, seed: int, stop: int, start: int = 0
    ) -> None:
        hop = utterances.settings.hop
        if samples % hop:
            raise UserError(f"params.yaml: segment_samples must be a multiple of {hop}, not {samples}")
        super().__init__(stop, start)
        self.utterances, self.frames, self.batch_size, self.seed = utterances, samples // hop, batch_size, seed
        self._reader: UtteranceReader | None = None

    def batch(self, step: int) -> dict[str, Tensor]:
        """Return the batch of one step, the same whenever it is asked for."""
        reader = self._reader = self._reader or UtteranceReader(self.utterances, own_share(CACHE_BYTES))
        hop = self.utterances.settings.hop
        waves, mels = [], []
        for position in range(step * self.batch_size, (step + 1) * self.batch_size):
            epoch, place = divmod(position, len(self.utterances))
            number = int(epoch_order(self.utterances.index.group.tobytes(), self.seed, epoch)[place])
            wave = to_float(reader.audio(number))
            rng = np.random.default_rng((self.seed, position, 1))
            first = int(rng.integers(max(len(wave) // hop - self.frames, 0) + 1))
            piece = wave[first * hop : (first + self.frames) * hop]
            waves.append(torch.nn.functional.pad(piece, (0, self.frames * hop - len(piece))))
            if self.utterances.mels is not None:
                mel = reader.mel(number)
                window = mel[first : first + self.frames].T
                missing = self.frames - window.shape[1]
                mels.append(torch.nn.functional.pad(window, (0, missing), value=float(mel.min())))
        batch = {"audio": torch.stack(waves)[:, None]}
        return batch | ({"mel": torch.stack(mels)} if mels else {})


@functools.lru_cache(maxsize=4)
def _batches(groups: bytes, samples: bytes, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    order, counts = epoch_order(groups, seed, epoch), np.frombuffer(samples, np.int64)
    batches: list[list[int]] = []
    for start in range(0, len(order), batch_size * POOL_BATCHES):
        pool = order[start : start + batch_size * POOL_BATCHES]
        pool = pool[np.argsort(counts[pool], kind="stable")]
        batches += [pool[i : i + batch_size].tolist() for i in range(0, len(pool), batch_size)]
    # A pool's short batch holds its longest; batches come in random order, lest training go from short to long.
    return [batches[i] for i in np.random.default_rng((seed, epoch, 2)).permutation(len(batches))]
