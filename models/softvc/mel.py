"""What acoustic model and vocoder agree on, the log-mel; and the vocoder (van Niekerk et al. 2022, section 2.3).

B: batch, T: samples at 16 kHz, M: mel frames of 10 ms (``T // 160``).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from models.hifigan.generator import Generator
from speech.mel_spectrogram import MelSettings, log_mel

# 128 bands of 64 ms windows every 10 ms, magnitudes without a floor under the root; the first frame is centred on
# sample 80, so that two frames lie under each unit.
MEL = MelSettings(sample_rate=16_000, n_fft=1024, hop=160, n_mels=128, power_floor=0.0)
FRAMES_PER_UNIT = 2
SILENCE = -11.512925  # log 1e-5, the least value of a log-mel
EDGE_FRAMES = 5
SHORTEST = (MEL.n_fft - MEL.hop) // 2 + 1  # samples: reflection needs one more than it adds

# The published vocoder: 14 M parameters with weight norm, hop 10 * 4 * 2 * 2 = 160.
PUBLISHED: dict[str, Any] = {
    "initial_channels": 512,
    "upsample_rates": (10, 4, 2, 2),
    "upsample_kernels": (20, 8, 4, 4),
    "resblock_kernels": (3, 7, 11),
    "resblock_dilations": ((1, 3, 5), (1, 3, 5), (1, 3, 5)),
}


class Vocoder(Generator):
    """HiFi-GAN on log-mels: ``(B, 128, M)`` to ``(B, 1, 160 M)`` in [-1, 1] at 16 kHz.

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
        """Waveforms ``(B, 1, 160 (M + 10))`` of log-mels, and their rate in Hz, as the public code had it until 2023.

        The first and the last frame are heard five times more, lest the ends click; what they add stays.
        """
        return self(pad(mel, (EDGE_FRAMES, EDGE_FRAMES), mode="replicate")), MEL.sample_rate


def wave_to_mel(wave: Tensor) -> Tensor:
    """Log-mels ``(B, 128, T // 160)`` of waveforms ``(B, T)`` float32 in [-1, 1] at 16 kHz, T at least 433."""
    return log_mel(wave, MEL)
