"""Arithmetic of HuBERT's convolutions, arranged for speed, and so that no recording of a batch depends on its padding.

The modules stay torchaudio's; here is only how they are computed. On a processor, in time-major order and pieces that
stay in its cache, a convolution over many channels is one matrix product, and torch's own convolution of a single
channel, or of few channels with a long kernel, is several times slower.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

PIECE = 1024  # frames of a convolution's output at once
BLOCK = 256  # points of the Fourier transforms; with the published kernel of 128, 129 frames each


class WaveformEncoder:
    """Waveform encoder: torchaudio's ``FeatureExtractor`` on a processor and without gradients.

    It has the weights of this moment.

    Args:
        extractor: the module.
        dtype: of everything behind the first layer; a waveform needs more than the eight bits of bfloat16.
    """

    def __init__(self, extractor: Any, dtype: torch.dtype = torch.float32) -> None:
        self.extractor, self.dtype = extractor, dtype
        self.matrices = [_matrices(layer, dtype) for layer in extractor.conv_layers[1:]]

    def __call__(self, padded: Tensor, samples: Sequence[int] | None) -> list[Tensor]:
        """Return ``(N, C)`` for each of the waveforms ``(B, T)``, of which ``samples`` count; ``None``: all."""
        lengths = samples or [padded.shape[1]] * len(padded)
        with torch.autocast("cpu", enabled=False):
            return [self._encode(wave[:length]) for wave, length in zip(padded, lengths, strict=True)]

    def _encode(self, wave: Tensor) -> Tensor:
        first, *rest = self.extractor.conv_layers
        if not _count(self.extractor, len(wave)):
            return wave.new_zeros(0, first.conv.out_channels)
        weight, bias = first.conv.weight, first.conv.bias
        if isinstance(first.layer_norm, torch.nn.GroupNorm):
            weight, bias = _folded_norm(first, wave)
        # Of one channel, windows are copied: matrices of a few taps would read and write the output once more each.
        windows = wave.unfold(0, first.kernel_size, first.stride).contiguous()
        hidden = _layer(first, windows, 1, [weight.squeeze(1).T], bias, self.dtype)
        for layer, matrices in zip(rest, self.matrices, strict=True):
            bias = None if layer.conv.bias is None else layer.conv.bias.to(self.dtype)
            hidden = _layer(layer, hidden, layer.stride, matrices, bias, self.dtype)
        return hidden


def channel_major(extractor: Any, padded: Tensor, lengths: Sequence[int]) -> list[Tensor]:
    """Return the same by torch's own convolutions over the whole batch: for a GPU, and with gradients."""
    first, *rest = extractor.conv_layers
    with torch.autocast(padded.device.type, enabled=False):  # a waveform needs more than eight bits
        hidden = first.conv(padded[:, None])
        hidden = hidden if first.layer_norm is None else _normalise(first, hidden, lengths)
    hidden = F.gelu(hidden)
    for layer in rest:
        hidden, _ = layer(hidden, None)
    counts = [_count(extractor, length) for length in lengths]
    return [row[:, :count].T for row, count in zip(hidden, counts, strict=True)]


def _normalise(layer: Any, hidden: Tensor, lengths: Sequence[int]) -> Tensor:
    """Apply the first layer's norm. A group norm averages over time: each recording over its own frames only."""
    if len(set(lengths)) == 1:
        return layer.layer_norm(hidden)
    total = hidden.shape[2]
    frames = [max((length - layer.kernel_size) // layer.stride + 1, 0) for length in lengths]
    rows = [F.pad(layer.layer_norm(row[None, :, :n]), (0, total - n)) for row, n in zip(hidden, frames, strict=True)]
    return torch.cat(rows)


def _count(extractor: Any, samples: int) -> int:
    for layer in extractor.conv_layers:
        samples = max((samples - layer.kernel_size) // layer.stride + 1, 0)
    return samples


def _matrices(layer: Any, dtype: torch.dtype) -> list[Tensor]:
    """Split the taps of a convolution, ``stride`` at a time, each ``(taps * C, C')``."""
    weight = layer.conv.weight.detach().to(dtype)
    return [taps.permute(2, 1, 0).flatten(0, 1).contiguous() for taps in weight.split(layer.stride, dim=2)]


def _layer(
    layer: Any, hidden: Tensor, stride: int, matrices: Sequence[Tensor], bias: Tensor | None, dtype: torch.dtype
) -> Tensor:
    """Apply convolution, layer norm over channels if any, and GELU: ``(T, C)`` to ``(N, C')`` of ``dtype``."""
    count = (hidden.numel() - sum(map(len, matrices))) // (stride * hidden.shape[1]) + 1
    out = hidden.new_empty(count, layer.conv.out_channels, dtype=dtype)
    norm = layer.layer_norm if isinstance(layer.layer_norm, torch.nn.LayerNorm) else None
    for start in range(0, count, PIECE):
        piece = out[start : start + PIECE]
        product = piece if hidden.dtype == dtype else piece.float()
        for number, matrix in enumerate(matrices):
            rows = _windows(hidden, stride, start + number, len(piece), len(matrix))
            if number:
                product.addmm_(rows, matrix)
            elif bias is None:
                torch.mm(rows, matrix, out=product)
            else:
                torch.addmm(bias, rows, matrix, out=product)
        if norm is not None:
            product = F.layer_norm(product.float(), norm.normalized_shape, norm.weight, norm.bias, norm.eps)
        torch.ops.aten.gelu_(product)
        if product is not piece:
            piece.copy_(product)
    return out


def _windows(hidden: Tensor, stride: int, start: int, count: int, width: int) -> Tensor:
    """Return a view of ``count`` rows of ``width`` numbers, ``stride`` frames apart, from the ``start``-th on."""
    step = stride * hidden.shape[1]
    return hidden.as_strided((count, width), (step, 1), hidden.storage_offset() + start * step)


def _folded_norm(layer: Any, wave: Tensor) -> tuple[Tensor, Tensor]:
    """Fold the first layer's group norm, one group a channel, into its convolution's weights and bias.

    A channel is a fixed mixture of the waveform's windows, so its mean and variance over time follow from the
    windows' mean and covariance.
    """
    norm, weight = layer.layer_norm, layer.conv.weight.squeeze(1)
    windows = wave.double().unfold(0, layer.kernel_size, layer.stride)
    mean = windows.mean(0)
    centred = windows - mean
    covariance = centred.T @ centred / len(windows)
    taps = weight.double()
    scale = norm.weight.double() / (((taps @ covariance) * taps).sum(1) + norm.eps).sqrt()
    bias = norm.bias.double() - scale * (taps @ mean)
    return (taps * scale[:, None]).to(weight.dtype)[:, None], bias.to(weight.dtype)


class PositionalConvolution:
    """Positional convolution: torchaudio's ``ConvolutionalPositionalEmbedding``, by Fourier transform.

    It has the weights of this moment.

    Overlap-save: blocks of ``BLOCK`` frames, of which those count that no wrap-around reached. A group of 48
    is then a 48 x 48 matrix for each frequency.
    """

    def __init__(self, embedding: Any) -> None:
        conv = embedding.conv
        self.kernel, self.groups = conv.kernel_size[0], conv.groups
        self.size = BLOCK if self.kernel <= BLOCK // 2 else 2 * self.kernel
        self.bias = None if conv.bias is None else conv.bias.detach()
        spectrum = torch.fft.rfft(conv.weight.detach(), n=self.size).conj()  # (C, C / groups, frequencies)
        out_channels, in_channels, frequencies = spectrum.shape
        by_group = spectrum.view(self.groups, out_channels // self.groups, in_channels, frequencies)
        self.weight = by_group.permute(3, 0, 2, 1).contiguous()

    def __call__(self, x: Tensor) -> Tensor:
        """Convolve ``(B, N, C)`` to ``(B, N, C)``, one GELU included."""
        with torch.autocast("cpu", enabled=False):
            return F.gelu(self._convolve(x.float()))

    def _convolve(self, x: Tensor) -> Tensor:
        batch, count, channels = x.shape
        hop = self.size - self.kernel + 1
        blocks = -(-count // hop)
        left = self.kernel // 2
        padded = F.pad(x, (0, 0, left, (blocks - 1) * hop + self.size - left - count))
        spectrum = torch.fft.rfft(padded.unfold(1, self.size, hop))  # (B, blocks, C, frequencies)
        grouped = spectrum.reshape(batch * blocks, self.groups, channels // self.groups, -1).permute(3, 1, 0, 2)
        mixed = torch.matmul(grouped, self.weight).permute(2, 1, 3, 0)
        out = torch.fft.irfft(mixed, n=self.size)[..., :hop].reshape(batch, blocks, channels, hop)
        out = out.transpose(2, 3).reshape(batch, blocks * hop, channels)[:, :count]
        return out if self.bias is None else out + self.bias
