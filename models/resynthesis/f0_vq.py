"""VQ-VAE of normalised F0 (Polyak et al. 2021, section 2.1), built of Jukebox blocks (Dhariwal et al. 2020)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import embedding

from models.codebook import Codebook, Quantised
from models.resynthesis.jukebox import down_stack, up_stack


class F0VQVAE(nn.Module):
    """Quantiser of F0 at 200 Hz to codes at ``200 / stride**downs`` Hz; by default as published, 20 codes at 12.5 Hz.

    Input is ``(B, 1, T)``: F0 normalised by the speaker's statistics, exactly 0 where unvoiced; T a multiple of
    :attr:`hop` (16 frames of 80 samples by default).
    """

    def __init__(
        self,
        codes: int = 20,
        embedding_dim: int = 128,
        width: int = 32,
        depth: int = 4,
        downs: int = 4,
        stride: int = 2,
        dilation_growth: int = 3,
        ema_decay: float = 0.99,
    ) -> None:
        super().__init__()
        self.hop = stride**downs
        strides = (stride,) * downs
        self.encoder = down_stack(1, width, embedding_dim, strides, depth, dilation_growth)
        self.codebook = Codebook(codes, embedding_dim, ema_decay)
        self.decoder = up_stack(1, width, embedding_dim, strides, depth, dilation_growth)

    def forward(self, f0: Tensor) -> tuple[Tensor, Quantised]:
        """Return the reconstruction ``(B, 1, T)`` and the quantisation that it was made from."""
        quantised = self.codebook(self.encoder(f0))
        return self.decoder(quantised.vectors), quantised

    def encode(self, f0: Tensor) -> Tensor:
        """Encode F0 ``(B, 1, T)`` as tokens ``(B, T // hop)`` int64."""
        return self.codebook.encode(self.encoder(f0))

    def decode(self, codes: Tensor) -> Tensor:
        """Decode F0 tokens ``(B, L)`` to normalised F0 ``(B, 1, L * hop)``."""
        return self.decoder(embedding(codes, self.codebook.codes).transpose(1, 2))
