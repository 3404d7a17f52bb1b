"""Vocoder of Soft-VC (van Niekerk et al. 2022, section 2.3): HiFi-GAN on log-mels.

B: batch, M: mel frames of 10 ms.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from models.hifigan.generator import Generator
from models.softvc.mel import MEL

EDGE_FRAMES = 5
# The published vocoder: 14 M parameters with weight norm, hop 10 * 4 * 2 * 2 = 160.
PUBLISHED: dict[str, Any] = {
    "initial_channels": 512,
    "upsample_rates": (10, 4, 2, 2),
    "upsample_kernels": (20, 8, 4, 4),
    "resblock_kernels": (3, 7, 11),
    "resblock_dilations": ((1, 3, 5), (1, 3, 5), (1, 3, 5)),
}


class Vocoder(Generator):
    """HiFi-GAN on log-mels, ``(B, 128, M)`` to ``(B, 1, 160 M)`` in [-1, 1] at 16 kHz.

    ``sizes``, keyword arguments of :class:`Generator`, replace published ones.

    Raises:
        ValueError: the rates do not multiply to the hop of the log-mel.
    """

    def __init__(self, **sizes: Any) -> None:
        super().__init__(MEL.n_mels, **{**PUBLISHED, **sizes})
        if self.hop != MEL.hop:
            raise ValueError(f"upsample_rates multiply to {self.hop}, the log-mel's hop is {MEL.hop}")

    @torch.inference_mode()
    def generate(self, mel: Tensor) -> tuple[Tensor, int]:
        """Synthesize waveforms ``(B, 1, 160 (M + 10))`` of log-mels, and return their rate in Hz too.

        The public code had this until 2023. The first and the last frame are repeated five times, lest the ends click;
        what they add stays.
        """
        return self(pad(mel, (EDGE_FRAMES, EDGE_FRAMES), mode="replicate")), MEL.sample_rate
