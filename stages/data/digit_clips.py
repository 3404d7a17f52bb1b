"""Recordings of digits for training: read whole, placed within one second, batches by step and seed alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from speech.audio.waveforms import decode_audio
from speech.errors import UserError
from speech.judges.digit_mel import WORDS, one_second
from speech.storage.shards import read_rows
from speech.text import normalise_text
from stages.data.batches import Batches


@dataclass(frozen=True)
class Clip:
    """A recording ``wave`` ``(T,)`` float32 at 16 kHz, and the ``digit`` spoken in it."""

    wave: np.ndarray
    digit: int


def read_clips(audio: Path, split: str) -> list[Clip]:
    """Read the recordings of one split whose text is a digit.

    Raises:
        UserError: there are none.
    """
    clips = []
    for row in read_rows(audio, ["text", "split", "num_speech", "audio"]):
        word = normalise_text(row["text"] or "")
        if row["split"] == split and word in WORDS:
            clips.append(Clip(decode_audio(row["audio"])[: row["num_speech"]], WORDS.index(word)))
    if not clips:
        raise UserError(f"{audio}: no recording of split '{split}' says a digit; a digit classifier needs zero to nine")
    return clips


class ClipBatches(Batches):
    """Batches ``start`` to ``stop``: ``audio`` ``(B, 16000)`` float32 and ``digit`` ``(B,)`` int64.

    Args:
        clips: which.
        batch_size: of a batch; the last of an epoch may be smaller where clips are not ``placed``.
        seed: of order and places.
        stop: the step to end before.
        start: the step to begin with.
        placed: at random within the second, in an order of each epoch's own; else in the middle and in order, once.
    """

    def __init__(
        self, clips: Sequence[Clip], batch_size: int, seed: int, stop: int, start: int = 0, placed: bool = True
    ) -> None:
        super().__init__(stop, start)
        self.clips, self.batch_size, self.seed, self.placed = clips, batch_size, seed, placed

    def batch(self, step: int) -> dict[str, Tensor]:
        """Return the batch of one step, the same whenever it is asked for."""
        positions = range(step * self.batch_size, (step + 1) * self.batch_size)
        if not self.placed:
            chosen = [(self.clips[p], 0.5) for p in positions if p < len(self.clips)]
        else:
            chosen = [self._drawn(position) for position in positions]
        waves = np.stack([one_second(clip.wave, place) for clip, place in chosen])
        digits = torch.tensor([clip.digit for clip, _ in chosen])
        return {"audio": torch.from_numpy(np.ascontiguousarray(waves, np.float32)), "digit": digits}

    def _drawn(self, position: int) -> tuple[Clip, float]:
        epoch, place = divmod(position, len(self.clips))
        number = np.random.default_rng((self.seed, epoch)).permutation(len(self.clips))[place]
        return self.clips[number], float(np.random.default_rng((self.seed, position, 1)).random())
