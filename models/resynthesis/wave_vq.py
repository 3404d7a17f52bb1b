"""VQ-VAE of raw audio (Polyak et al. 2021, section 2.1): its codes are units learnt without a content encoder."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import embedding

from models.codebook import Codebook, Quantised
from models.hifigan.generator import Generator
from models.resynthesis.jukebox import down_stack


class WaveVQVAE(nn.Module):
    """Quantiser of audio, by a Jukebox encoder and back by HiFi-GAN; defaults as published (256 codes at 100 Hz).

    Args:
        codes, embedding_dim, ema_decay: of the codebook.
        width, depth, strides, dilation_growth: of the encoder; the product of the strides is :attr:`hop` in samples.
        initial_channels, upsample_rates, upsample_kernels, resblock_kernels, resblock_dilations: of the generator.

    Raises:
        ValueError: encoder and generator have different hops.
    """

    def __init__(
        self,
        codes: int = 256,
        embedding_dim: int = 128,
        width: int = 32,
        depth: int = 4,
        strides: Sequence[int] = (2, 2, 2, 2, 2, 5),
        dilation_growth: int = 3,
        ema_decay: float = 0.99,
        initial_channels: int = 512,
        upsample_rates: Sequence[int] = (5, 4, 2, 2, 2),
        upsample_kernels: Sequence[int] = (11, 8, 4, 4, 4),
        resblock_kernels: Sequence[int] = (3, 7, 11),
        resblock_dilations: Sequence[Sequence[int]] = ((1, 3, 5), (1, 3, 5), (1, 3, 5)),
    ) -> None:
        super().__init__()
        self.hop = math.prod(strides)
        if math.prod(upsample_rates) != self.hop:
            raise ValueError(f"strides multiply to {self.hop}, upsample_rates to {math.prod(upsample_rates)}")
        self.encoder = down_stack(1, width, embedding_dim, strides, depth, dilation_growth)
        self.codebook = Codebook(codes, embedding_dim, ema_decay)
        self.vocoder = Generator(
            embedding_dim, initial_channels, upsample_rates, upsample_kernels, resblock_kernels, resblock_dilations
        )

    def forward(self, wave: Tensor) -> tuple[Tensor, Quantised]:
        """Return waveforms ``(B, 1, T)`` in [-1, 1] made again, ``(B, 1, T // hop * hop)``, and their quantisation."""
        quantised = self.codebook(self.encoder(wave))
        return self.vocoder(quantised.vectors), quantised

    def encode(self, wave: Tensor) -> Tensor:
        """Encode waveforms ``(B, 1, T)`` as units ``(B, T // hop)`` int64; T at least ``hop``."""
        return self.codebook.encode(self.encoder(wave))

    def decode(self, codes: Tensor) -> Tensor:
        """Synthesize waveforms ``(B, 1, L * hop)`` of units ``(B, L)``."""
        return self.vocoder(embedding(codes, self.codebook.codes).transpose(1, 2))
