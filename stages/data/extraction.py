"""Shards of audio through the content encoder: what the stages ``features`` and ``units`` share."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from speech.audio.waveforms import decode_audio
from speech.rates import SAMPLE_RATE
from speech.units import num_frames
from stages.params.features import Features
from stages.runtime.engine import pick_device
from stages.runtime.faults import ExhaustedError

COLUMNS = ["id", "speaker", "num_samples", "audio"]


@dataclass(frozen=True)
class Extraction:
    """The settings by which audio is encoded; light, so that they travel to worker processes.

    Attributes:
        encoder: folder of the encoder.
        device: ``auto``, ``cpu`` or ``cuda``; worker processes spread over the GPUs there are.
        precision: ``float32``, or ``bfloat16`` for everything but waveforms and sums.
        batch_samples: audio of a padded batch (or one recording).
        extra_layers: outputs besides the encoder's own layer.
    """

    encoder: Path
    device: str
    precision: str
    batch_samples: int
    extra_layers: tuple[int, ...] = ()

    @classmethod
    def of(cls, settings: Features, encoder: Path, device: str, extra_layers: Sequence[int] = ()) -> Extraction:
        """Return the settings of section ``features``, with ``extra_layers`` where a stage wants them."""
        samples = int(settings.batch_seconds * SAMPLE_RATE)
        return cls(encoder, device, settings.precision, samples, tuple(extra_layers))

    def encode(self, rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, list[np.ndarray]]]:
        """Encode each row of an audio shard, in order of falling length.

        Yields:
            The row's index, and for the encoder's layer and each of ``extra_layers`` its ``(N, D)`` float16 frames;
            those that the recording has alone, whatever shares its batch.
        """
        model, device = _load(self.encoder, pick_device(self.device), self.precision)
        for batch in batches([row["num_samples"] for row in rows], self.batch_samples):
            chosen = [rows[index] for index in batch]
            yield from zip(batch, self._encode_batch(model, chosen, device), strict=True)

    def _encode_batch(self, model: Any, rows: Sequence[Mapping[str, Any]], device: str) -> Iterator[list[np.ndarray]]:
        import torch

        waves = [torch.from_numpy(decode_audio(row["audio"])) for row in rows]
        lengths = torch.tensor([len(wave) for wave in waves])
        padded = torch.nn.utils.rnn.pad_sequence(waves, batch_first=True).to(device)
        low = torch.autocast(padded.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")
        try:
            with torch.inference_mode(), low:
                outputs = model.extract(padded, lengths, [model.layer, *self.extra_layers])
                encoded = [output.to("cpu", torch.float16).numpy() for output in outputs]
        except torch.OutOfMemoryError:
            raise ExhaustedError(
                f"features.batch_seconds: {padded.numel() / SAMPLE_RATE:.0f} s at once do not fit on {device}; "
                "lower it, or runtime.workers"
            ) from None
        for index, (row, wave) in enumerate(zip(rows, waves, strict=True)):
            count = num_frames(row["num_samples"])
            if count != num_frames(len(wave)) or count > encoded[0].shape[1]:
                raise AssertionError(f"{row['id']}: {len(wave)} samples of audio, {row['num_samples']} on record")
            yield [output[index, :count] for output in encoded]


def batches(lengths: Sequence[int], batch_samples: int) -> Iterator[list[int]]:
    """Group indices by length, longest first; a padded group holds at most ``batch_samples`` (or one utterance)."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if batch and (len(batch) + 1) * lengths[batch[0]] > batch_samples:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def is_kept(name: str, share: float) -> bool:
    """Tell whether the frames of utterance ``name`` are among the ``share`` that is stored: always the same ones."""
    return zlib.crc32(name.encode()) < share * 2**32


@functools.cache
def _load(directory: Path, device: str, precision: str) -> tuple[Any, str]:
    """Load the encoder, once per worker process."""
    import torch

    from respeak.encoders.loading import load_encoder

    torch.set_num_threads(1)
    return load_encoder(directory).to(device).prepare(getattr(torch, precision)), device
