"""What every content encoder promises.

B: batch, T: samples at 16 kHz, N: frames (``T // 320``), D: feature dimension.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speech.units import UNIT_HOP, num_frames

WINDOW = 400  # samples a single frame sees before any context: 25 ms, HuBERT's convolutions and a Kaldi window alike
PADDING = (WINDOW - UNIT_HOP) // 2  # zeros each side: frame n is centred on sample 320 n + 160, and N = T // 320


class ContentEncoder(nn.Module, ABC):
    """Waveforms ``(B, T)`` float32 in [-1, 1] at 16 kHz to features ``(B, N, D)`` at 50 Hz.

    Attributes:
        kind: name in the configuration.
        hop: samples per frame (320).
        dim: feature dimension D.
        layer: transformer layer whose output is taken; 0 for signal features.
        receptive_field: samples that one frame can depend on; 0: the whole recording.
        padding: zeros added on each side of the waveform.
    """

    kind: str
    hop: int = UNIT_HOP
    dim: int
    layer: int = 0
    receptive_field: int
    padding: int = PADDING

    def num_frames(self, num_samples: int) -> int:
        """Frames of a recording of ``num_samples``."""
        return num_frames(num_samples)

    def forward(self, waves: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Encode a batch.

        Args:
            waves: ``(B, T)``; what lies behind a recording's end does not matter.
            lengths: ``(B,)`` samples of each recording; ``None``: all are ``T`` long.

        Returns:
            ``(B, T // 320, D)``. The first ``length // 320`` frames of a recording are those it has alone; the rest
            are without meaning.
        """
        if lengths is None:
            return self.encode(F.pad(waves, (self.padding, self.padding)))
        inside = torch.arange(waves.shape[1], device=waves.device) < lengths.to(waves.device)[:, None]
        padded = F.pad(waves * inside, (self.padding, self.padding))
        return self.encode(padded, torch.div(lengths, self.hop, rounding_mode="floor"))

    @abstractmethod
    def encode(self, padded: Tensor, frames: Tensor | None = None) -> Tensor:
        """Features ``(B, N, D)`` of waveforms that carry ``padding`` zeros each side; ``frames`` ``(B,)`` are real."""
