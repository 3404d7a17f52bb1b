"""The contract of every content encoder.

B: batch, T: samples at 16 kHz, N: frames (``T // 320``), D: feature dimension.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speech.rates import SAMPLE_RATE, UNIT_HOP
from speech.units import num_frames

WINDOW = 400  # samples a single frame sees before any context: 25 ms, HuBERT's convolutions and a Kaldi window alike
PADDING = (WINDOW - UNIT_HOP) // 2  # zeros each side: frame n is centred on sample 320 n + 160, and N = T // 320
VARIANCE_FLOOR = 1e-5  # of the waveform, where an encoder wants unit variance; the value its networks were trained with


class ContentEncoder(nn.Module, ABC):
    """Encoder of waveforms ``(B, T)`` float32 in [-1, 1] at 16 kHz as features ``(B, N, D)`` at 50 Hz.

    Attributes:
        kind: name in the configuration.
        hop: samples per frame (320).
        dim: feature dimension D.
        layer: transformer layer whose output is taken; 0 for signal features.
        num_layers: of the transformer; 0 for signal features.
        receptive_field: samples that one frame can depend on; 0: the whole recording.
        padding: zeros added on each side of the waveform.
        normalise_wave: whether each recording is first brought to zero mean and unit variance.
    """

    kind: str
    hop: int = UNIT_HOP
    dim: int
    layer: int = 0
    num_layers: int = 0
    receptive_field: int
    padding: int = PADDING
    normalise_wave: bool = False

    @property
    def frame_rate(self) -> float:
        """Frames per second (50)."""
        return SAMPLE_RATE / self.hop

    def num_frames(self, num_samples: int) -> int:
        """Return the frames that a recording of ``num_samples`` has."""
        return num_frames(num_samples)

    def prepare(self, dtype: torch.dtype = torch.float32) -> ContentEncoder:
        """Arrange for extraction alone, once the weights are final and on their device: faster, and no gradients.

        Args:
            dtype: float32 for the same features; bfloat16 for what is to run under autocast to it.
        """
        return self

    def forward(self, waves: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Encode a batch.

        Args:
            waves: ``(B, T)``; what lies behind a recording's end does not matter.
            lengths: ``(B,)`` samples of each recording; ``None``: all are ``T`` long.

        Returns:
            ``(B, T // 320, D)``. The first ``length // 320`` frames of a recording are those it has alone; the rest
            are without meaning.
        """
        return self.extract(waves, lengths, [self.layer])[0]

    def extract(self, waves: Tensor, lengths: Tensor | None, layers: Sequence[int]) -> list[Tensor]:
        """Return the outputs of several layers in one pass, in the order of ``layers``; otherwise as ``forward``.

        Raises:
            ValueError: a layer that the encoder does not have.
        """
        lowest = min(self.num_layers, 1)
        if wrong := [layer for layer in layers if not lowest <= layer <= self.num_layers]:
            raise ValueError(f"layer {wrong[0]} is outside {lowest} to {self.num_layers} of {self.kind}")
        if self.num_frames(waves.shape[1]) == 0:
            return [waves.new_zeros(len(waves), 0, self.dim) for _ in layers]
        if lengths is not None and bool((lengths == waves.shape[1]).all()):
            lengths = None
        if lengths is not None:
            inside = torch.arange(waves.shape[1], device=waves.device) < lengths.to(waves.device)[:, None]
            waves = waves * inside
        if self.normalise_wave:
            waves = unit_variance(waves, lengths)
        return self.encode(F.pad(waves, (self.padding, self.padding)), lengths, layers)

    @abstractmethod
    def encode(self, padded: Tensor, lengths: Tensor | None, layers: Sequence[int]) -> list[Tensor]:
        """Return features ``(B, N, D)`` of each of ``layers``.

        Args:
            padded: waveforms with ``padding`` zeros each side, and zeros behind each recording's end.
            lengths: ``(B,)`` samples of each recording without that padding; ``None``: all fill the batch.
            layers: which outputs.
        """


def unit_variance(waves: Tensor, lengths: Tensor | None) -> Tensor:
    """Bring each recording to zero mean and unit variance over its own samples; zeros stay behind its end."""
    if lengths is None:
        return F.layer_norm(waves, waves.shape[-1:], eps=VARIANCE_FLOOR)
    rows = [
        F.pad(F.layer_norm(wave[:length], (length,), eps=VARIANCE_FLOOR), (0, len(wave) - length))
        for wave, length in zip(waves, lengths.tolist(), strict=True)
    ]
    return torch.stack(rows)
