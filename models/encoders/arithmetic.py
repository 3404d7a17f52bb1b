"""HuBERT's convolutions arranged for speed, and so that no recording of a batch hears another's padding.

The modules stay torchaudio's; here is only how they are computed. On a processor, in time-major order and pieces that
stay in its cache, a convolution over many channels is one matrix product, and torch's own convolution of a single
channel, or of few channels with a long kernel, is several times slower.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

PIECE = 1024  # frames of a convolution's output at once
BLOCK = 256  # points of the Fourier transforms; with the published kernel of 128, 129 frames each


def front_end(extractor: Any, padded: Tensor, samples: Sequence[int] | None) -> list[Tensor]:
    """The waveform encoder: ``(N, C)`` for each of the waveforms ``(B, T)``.

    Args:
        extractor: torchaudio's ``FeatureExtractor``.
        padded: the waveforms.
        samples: of each, what counts; ``None``: all of it.
    """
    lengths = samples or [padded.shape[1]] * len(padded)
    if padded.device.type == "cpu":
        return [_time_major(extractor, wave[:length]) for wave, length in zip(padded, lengths, strict=True)]
    return channel_major(extractor, padded, lengths)


def channel_major(extractor: Any, padded: Tensor, lengths: Sequence[int]) -> list[Tensor]:
    """``front_end`` by torch's own convolutions over the whole batch, for a GPU."""
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
    """The first layer's norm. A group norm averages over time: each recording over its own frames only."""
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


def _time_major(extractor: Any, wave: Tensor) -> Tensor:
    """One waveform ``(T,)`` to ``(N, C)``."""
    first, *rest = extractor.conv_layers
    if not _count(extractor, len(wave)):
        return wave.new_zeros(0, first.conv.out_channels)
    with torch.autocast("cpu", enabled=False):
        if isinstance(first.layer_norm, torch.nn.GroupNorm):
            hidden = _normalised_first(first, wave[:, None])
        else:
            hidden = _layer(first, wave[:, None])
    for layer in rest:
        hidden = _layer(layer, hidden)
    return hidden


def _layer(layer: Any, hidden: Tensor) -> Tensor:
    """Convolution, layer norm over channels if there is one, GELU: ``(T, C)`` to ``(N, C')``."""
    pieces = _convolve(layer, hidden, layer.conv.weight, layer.conv.bias)
    norm = layer.layer_norm
    if norm is not None:
        shape, weight, bias, floor = norm.normalized_shape, norm.weight, norm.bias, norm.eps
        pieces = (F.layer_norm(piece, shape, weight, bias, floor) for piece in pieces)
    return torch.cat([F.gelu(piece) for piece in pieces])


def _normalised_first(layer: Any, wave: Tensor) -> Tensor:
    """The first convolution with its group norm, one group a channel, folded into its weights.

    A channel is a fixed mixture of the waveform's windows, so its mean and variance over time follow from the
    windows' mean and covariance.
    """
    norm, weight = layer.layer_norm, layer.conv.weight.squeeze(1)
    windows = wave[:, 0].double().unfold(0, layer.kernel_size, layer.stride)
    mean = windows.mean(0)
    centred = windows - mean
    covariance = centred.T @ centred / len(windows)
    taps = weight.double()
    scale = norm.weight.double() / (((taps @ covariance) * taps).sum(1) + norm.eps).sqrt()
    bias = norm.bias.double() - scale * (taps @ mean)
    pieces = _convolve(layer, wave, (taps * scale[:, None]).to(weight.dtype)[:, None], bias.to(weight.dtype))
    return torch.cat([F.gelu(piece) for piece in pieces])


def _convolve(layer: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Iterator[Tensor]:
    """The convolution ``(T, C)`` to ``(N, C')`` as matrix products, piece by piece."""
    windows = hidden.unfold(0, layer.kernel_size, layer.stride).transpose(1, 2)
    taps = weight.transpose(1, 2).flatten(1)
    for start in range(0, len(windows), PIECE):
        yield F.linear(windows[start : start + PIECE].flatten(1), taps, bias)


class PositionalConvolution:
    """torchaudio's ``ConvolutionalPositionalEmbedding`` with its weights of this moment, by Fourier transform.

    Overlap-save: blocks of ``BLOCK`` frames, of which those that heard no wrap-around count. A group of 48 channels
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
        """``(B, N, C)`` to ``(B, N, C)``, one GELU included."""
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
