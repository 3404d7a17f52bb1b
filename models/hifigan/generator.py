"""HiFi-GAN generator V1 (Kong et al. 2020, section 2.2 and appendix A.1), of any width."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm

from models.hifigan.fourier import FourierConvolution, pays
from models.hifigan.source import SourceFilter

SLOPE = 0.1
# Gains at the start of training beside that which keeps the power of a signal: a residual branch begins as a small
# correction, the waveform quiet, the source beside the features rather than over them.
RESIDUAL_GAIN, OUTPUT_GAIN, SOURCE_GAIN = 0.3, 0.07, 0.5


class ResBlock(nn.Module):
    """Residual block: pairs of one dilated and one plain convolution, ``(B, channels, T)`` to the same shape."""

    def __init__(self, channels: int, kernel: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(_same_conv(channels, kernel, dilation) for dilation in dilations)
        self.convs2 = nn.ModuleList(_same_conv(channels, kernel, 1, RESIDUAL_GAIN) for _ in dilations)
        self._fast: list[list[Callable[[Tensor], Tensor]]] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, channels, T)`` to the same shape."""
        learns = torch.is_grad_enabled() and x.requires_grad
        convs = (self.convs1, self.convs2) if self._fast is None or learns else self._fast
        for dilated, plain in zip(*convs, strict=True):
            x = x + plain(leaky_relu(dilated(leaky_relu(x, SLOPE)), SLOPE))
        return x

    def prepare(self) -> None:
        """Arrange for synthesis, see ``Generator.prepare``."""
        convs: Any = (self.convs1, self.convs2)
        if all(pays(conv) for half in convs for conv in half):
            self._fast = [[FourierConvolution(conv) for conv in half] for half in convs]

    def train(self, mode: bool = True) -> Self:
        """Set the mode; training drops what was arranged for synthesis, which would not follow the weights."""
        self._fast = None if mode else self._fast
        return super().train(mode)

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        self._fast = None  # what it holds stays where the weights were
        return super()._apply(fn, recurse)


class Generator(nn.Module):
    """Generator of waveforms ``(B, 1, L * prod(upsample_rates))`` in [-1, 1] from features ``(B, in_channels, L)``.

    Channels halve at each upsampling stage; each stage ends in the mean of parallel residual blocks, one per kernel.
    With ``source`` it also takes pulses and noise, filtered as the features choose, at every stage and in the output.
    """

    def __init__(
        self,
        in_channels: int,
        initial_channels: int = 512,
        upsample_rates: Sequence[int] = (5, 4, 4, 2, 2),
        upsample_kernels: Sequence[int] = (11, 8, 8, 4, 4),
        resblock_kernels: Sequence[int] = (3, 7, 11),
        resblock_dilations: Sequence[Sequence[int]] = ((1, 3, 5), (1, 3, 5), (1, 3, 5)),
        source: bool = False,
    ) -> None:
        super().__init__()
        self.hop = math.prod(upsample_rates)
        self.source = SourceFilter(in_channels, self.hop) if source else None
        self.source_convs = nn.ModuleList()
        self.branches = len(resblock_kernels)
        self.conv_pre = weight_norm(nn.Conv1d(in_channels, initial_channels, 7, padding=3))
        self.ups = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        channels = initial_channels
        for rate, kernel in zip(upsample_rates, upsample_kernels, strict=True):
            up = nn.ConvTranspose1d(channels, channels // 2, kernel, rate, padding=(kernel - rate) // 2)
            channels //= 2
            self.ups.append(_normed(up))
            if source:
                self.source_convs.append(_source_conv(channels, math.prod(upsample_rates[len(self.ups) :])))
            for block_kernel, dilations in zip(resblock_kernels, resblock_dilations, strict=True):
                self.resblocks.append(ResBlock(channels, block_kernel, dilations))
        self.conv_post = _normed(nn.Conv1d(channels, 1, 7, padding=3), OUTPUT_GAIN)

    def forward(self, features: Tensor, source: Tensor | None = None) -> Tensor:
        """Synthesize waveforms ``(B, 1, L * prod(upsample_rates))`` in [-1, 1] of features ``(B, in_channels, L)``.

        ``source`` ``(B, 2, L * prod(upsample_rates))``, pulses and noise, for a generator made with a source.

        Raises:
            ValueError: the source that it was made for is missing.
        """
        draft = None
        if self.source is not None:
            if source is None:
                raise ValueError("this generator filters a source: pass one")
            draft = self.source(features, source)
            source = torch.cat([draft, source[:, 1:]], dim=1)
        x = self.conv_pre(features)
        for stage, up in enumerate(self.ups):
            x = up(leaky_relu(x, SLOPE))
            if draft is not None:
                x = x + self.source_convs[stage](source)
            blocks = self.resblocks[stage * self.branches : (stage + 1) * self.branches]
            x = sum(block(x) for block in blocks) / self.branches
        # The published code leaves the slope at torch's default here; weights depend on it.
        wave = self.conv_post(leaky_relu(x))
        return torch.tanh(wave if draft is None else wave + draft)

    def prepare(self) -> Self:
        """Arrange for synthesis alone, once the weights are final and on their device; the same numbers up to rounding.

        Norms are folded and, on a processor, long kernels computed by Fourier transform.
        """
        self.remove_weight_norm()
        for block in self.resblocks:
            assert isinstance(block, ResBlock)
            block.prepare()
        return self

    def remove_weight_norm(self) -> None:
        """Fold the norms into plain weights; the same numbers up to rounding."""
        for module in self.modules():
            if parametrize.is_parametrized(module, "weight"):
                parametrize.remove_parametrizations(module, "weight")


def _same_conv(channels: int, kernel: int, dilation: int, gain: float = 1.0) -> nn.Module:
    conv = nn.Conv1d(channels, channels, kernel, dilation=dilation, padding=(kernel - 1) * dilation // 2)
    return _normed(conv, gain)


def _source_conv(channels: int, stride: int) -> nn.Module:
    """Make the convolution from samples to a stage's rate: windows of two strides, centred on the stage's samples."""
    if stride == 1:
        return _normed(nn.Conv1d(2, channels, 7, padding=3), SOURCE_GAIN)
    return _normed(nn.Conv1d(2, channels, 2 * stride, stride, padding=stride // 2), SOURCE_GAIN)


def _normed(conv: nn.Conv1d | nn.ConvTranspose1d, gain: float = 1.0) -> nn.Module:
    """Apply weight norm, with magnitudes that keep a signal's power and directions that an optimiser turns fast.

    The published code draws weights of deviation 0.01 after weight norm, which overwrites them: torch's own remain.
    Drawn before it, they would shrink a signal sixfold per stage, and units would hardly tell in the output for
    the first thousand steps. Directions of small norm turn faster, so those stay; only the magnitudes are set
    (He et al. 2015). On real digits, 900 steps with a source: mel loss 0.51 instead of 0.58, WER 38 % instead of 77 %.
    """
    nn.init.normal_(conv.weight, 0.0, 0.01)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    power = 2.0
    if isinstance(conv, nn.ConvTranspose1d):
        # Its norms are those of what each input channel gives, and a sample gets one tap in `stride`.
        power *= conv.out_channels * conv.stride[0] / conv.in_channels
    normed = weight_norm(conv)
    normed.parametrizations.weight.original0.data.fill_(gain * math.sqrt(power))
    return normed
