"""VQ-VAE of normalised F0 (Polyak et al. 2021, section 2.1), built of Jukebox blocks (Dhariwal et al. 2020)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import embedding, relu

from models.resynthesis.codebook import Codebook, Quantised


class ResidualConv(nn.Module):
    """ReLU, dilated convolution, ReLU, pointwise convolution, plus the input."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.dilated = nn.Conv1d(width, width, 3, dilation=dilation, padding=dilation)
        self.pointwise = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, width, T)`` to the same shape."""
        return x + self.pointwise(relu(self.dilated(relu(x))))


class Stage(nn.Module):
    """One resampling convolution with a stack of residual ones: after it when going down, before it when going up."""

    def __init__(self, conv: nn.Module, width: int, depth: int, growth: int, down: bool) -> None:
        super().__init__()
        self.down = down
        self.conv = conv
        self.residual = nn.Sequential(*(ResidualConv(width, growth**level) for level in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, T)`` to ``(B, C', T / stride)`` going down, ``T * stride`` going up."""
        return self.residual(self.conv(x)) if self.down else self.conv(self.residual(x))


class F0VQVAE(nn.Module):
    """F0 at 200 Hz to codes at ``200 / stride**downs`` Hz and back; defaults as published (20 codes, 12.5 Hz).

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
        # Even strides: kernel 2s, padding s/2; odd ones: 2s + 1 and s // 2 + 1 (down), as in Jukebox.
        kernel, padding = (2 * stride, stride // 2) if stride % 2 == 0 else (2 * stride + 1, stride // 2 + 1)
        encoder: list[nn.Module] = []
        decoder: list[nn.Module] = [nn.Conv1d(embedding_dim, width, 3, padding=1)]
        for level in range(downs):
            down = nn.Conv1d(width if level else 1, width, kernel, stride, padding)
            encoder.append(Stage(down, width, depth, dilation_growth, down=True))
            after = embedding_dim if level == downs - 1 else width
            up = nn.ConvTranspose1d(width, after, kernel, stride, padding)
            decoder.append(Stage(up, width, depth, dilation_growth, down=False))
        self.encoder = nn.Sequential(*encoder, nn.Conv1d(width, embedding_dim, 3, padding=1))
        self.codebook = Codebook(codes, embedding_dim, ema_decay)
        self.decoder = nn.Sequential(*decoder, nn.Conv1d(embedding_dim, 1, 3, padding=1))

    def forward(self, f0: Tensor) -> tuple[Tensor, Quantised]:
        """Reconstruction ``(B, 1, T)`` and the quantisation it was made from."""
        quantised = self.codebook(self.encoder(f0))
        return self.decoder(quantised.vectors), quantised

    def encode(self, f0: Tensor) -> Tensor:
        """F0 tokens: ``(B, 1, T)`` to ``(B, T // hop)`` int64."""
        hidden = self.encoder(f0)
        flat = hidden.transpose(1, 2).reshape(-1, hidden.shape[1])
        return self.codebook.nearest(flat).view(f0.shape[0], -1)

    def decode(self, codes: Tensor) -> Tensor:
        """F0 tokens ``(B, L)`` to normalised F0 ``(B, 1, L * hop)``."""
        return self.decoder(embedding(codes, self.codebook.codes).transpose(1, 2))
