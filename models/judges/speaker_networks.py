"""Speaker networks by SpeechBrain's public weights: ECAPA-TDNN and x-vectors, with their features.

Desplanques et al. 2020 ("ECAPA-TDNN: Emphasized channel attention, propagation and aggregation in TDNN based speaker
verification", section 3) and Snyder et al. 2018 ("X-vectors: Robust DNN embeddings for speaker recognition",
section 2). Key names and sizes are those of ``spkrec-ecapa-voxceleb`` and ``spkrec-xvect-voxceleb``, so that their
``embedding_model.ckpt`` loads strictly. For inference: one recording at a time, nothing is padded or dropped.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from speech.rates import SAMPLE_RATE

WINDOW, HOP = 400, 160  # samples: 25 and 10 ms
RANGE_DB = 80.0


class MelBands(nn.Module):
    """Mel bands in decibels, of 25 ms every 10 ms, with the recording's own mean taken out of each band.

    A triangle is as wide above its centre as below it (the way down to the centre of the next lower one), and not as
    high up as the next centre, as elsewhere.
    """

    triangles: Tensor
    window: Tensor

    def __init__(self, bands: int) -> None:
        super().__init__()
        top = 2595 * math.log10(1 + SAMPLE_RATE / 2 / 700)
        edges = 700 * (10 ** (torch.linspace(0, top, bands + 2, dtype=torch.float64) / 2595) - 1)
        centres, widths = edges[1:-1], edges[1:-1] - edges[:-2]
        bins = torch.linspace(0, SAMPLE_RATE / 2, WINDOW // 2 + 1, dtype=torch.float64)
        triangles = (1 - (bins[:, None] - centres).abs() / widths).clamp(min=0)
        # Not in the state dict: the public files know nothing of it.
        self.register_buffer("triangles", triangles.float(), persistent=False)
        self.register_buffer("window", torch.hamming_window(WINDOW), persistent=False)

    def forward(self, waves: Tensor) -> Tensor:
        """Map waveforms ``(B, T)`` at 16 kHz to ``(B, bands, 1 + T // 160)``."""
        spectra = torch.stft(waves, WINDOW, HOP, window=self.window, pad_mode="constant", return_complex=True)
        power = spectra.abs().square().transpose(1, 2) @ self.triangles
        decibels = 10 * power.clamp(min=1e-10).log10()
        decibels = decibels.maximum(decibels.amax((1, 2), keepdim=True) - RANGE_DB)
        return (decibels - decibels.mean(1, keepdim=True)).transpose(1, 2)


class Convolution(nn.Module):
    """Convolution over time that keeps the length, the edges mirrored."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, dilation: int = 1) -> None:
        super().__init__()
        padding = dilation * (kernel - 1) // 2
        self.conv = nn.Conv1d(
            inputs, outputs, kernel, dilation=dilation, padding=padding, padding_mode="reflect" if padding else "zeros"
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, inputs, N)`` to ``(B, outputs, N)``."""
        return self.conv(x)


class Norm(nn.Module):
    """Batch norm under the name that the public files have."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, N)`` to the same shape."""
        return self.norm(x)


class TDNN(nn.Module):
    """Time-delay layer: convolution, ReLU, batch norm."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv = Convolution(inputs, outputs, kernel, dilation)
        self.norm = Norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, inputs, N)`` to ``(B, outputs, N)``."""
        return self.norm(relu(self.conv(x)))


class Res2Net(nn.Module):
    """Groups of channels, each convolved together with the result of the one before it; the first is let through."""

    def __init__(self, channels: int, kernel: int, dilation: int, groups: int = 8) -> None:
        super().__init__()
        width = channels // groups
        self.blocks = nn.ModuleList(TDNN(width, width, kernel, dilation) for _ in range(groups - 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, N)`` to the same shape."""
        first, *rest = x.chunk(len(self.blocks) + 1, dim=1)
        outputs = [first]
        for block, group in zip(self.blocks, rest, strict=True):
            outputs.append(block(group if len(outputs) == 1 else group + outputs[-1]))
        return torch.cat(outputs, dim=1)


class SqueezeExcitation(nn.Module):
    """Scales of channels, each from the averages of all channels."""

    def __init__(self, channels: int, bottleneck: int = 128) -> None:
        super().__init__()
        self.conv1 = Convolution(channels, bottleneck)
        self.conv2 = Convolution(bottleneck, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, N)`` to the same shape."""
        return x * self.conv2(relu(self.conv1(x.mean(2, keepdim=True)))).sigmoid()


class SERes2Net(nn.Module):
    """The paper's block: TDNN, Res2Net, TDNN, squeeze and excitation, and its input added."""

    def __init__(self, channels: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.tdnn1 = TDNN(channels, channels)
        self.res2net_block = Res2Net(channels, kernel, dilation)
        self.tdnn2 = TDNN(channels, channels)
        self.se_block = SqueezeExcitation(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, N)`` to the same shape."""
        return x + self.se_block(self.tdnn2(self.res2net_block(self.tdnn1(x))))


class AttentiveStatistics(nn.Module):
    """Mean and deviation of each channel, frames weighted by attention that knows the whole recording's."""

    def __init__(self, channels: int, bottleneck: int = 128) -> None:
        super().__init__()
        self.tdnn = TDNN(3 * channels, bottleneck)
        self.conv = Convolution(bottleneck, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, N)`` to ``(B, 2 C, 1)``."""
        mean, deviation = _statistics(x, torch.full_like(x[:, :1], 1 / x.shape[2]))
        context = torch.cat([x, mean.expand_as(x), deviation.expand_as(x)], dim=1)
        weights = self.conv(self.tdnn(context).tanh()).softmax(2)
        return torch.cat(_statistics(x, weights), dim=1)


class EcapaTDNN(nn.Module):
    """ECAPA-TDNN at SpeechBrain's sizes (20.8 M parameters)."""

    dim, shortest = 192, 5  # frames: what the widest mirrored edge needs

    def __init__(self) -> None:
        super().__init__()
        width, bands = 1024, 80
        self.features = MelBands(bands)
        self.blocks = nn.ModuleList([TDNN(bands, width, 5), *(SERes2Net(width, 3, d) for d in (2, 3, 4))])
        self.mfa = TDNN(3 * width, 3 * width)
        self.asp = AttentiveStatistics(3 * width)
        self.asp_bn = Norm(6 * width)
        self.fc = Convolution(6 * width, self.dim)

    def forward(self, waves: Tensor) -> Tensor:
        """Embed ``(B, T)`` at 16 kHz, of :attr:`shortest` frames at least, as ``(B, 192)`` of any length."""
        x, outputs = self.features(waves), []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        return self.fc(self.asp_bn(self.asp(self.mfa(torch.cat(outputs[1:], dim=1))))).squeeze(2)


class Statistics(nn.Module):
    """Mean and deviation of each channel."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, N)`` to ``(B, 2 C)``."""
        return torch.cat([x.mean(2), x.std(2) + 1e-5], dim=1)


class Projection(nn.Module):
    """Linear layer under the name that the public files have."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.w = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, inputs)`` to ``(B, outputs)``."""
        return self.w(x)


class XVector(nn.Module):
    """The x-vector network at SpeechBrain's sizes, up to the layer that is the embedding (4.2 M parameters).

    The noise of up to 1e-4 that SpeechBrain adds to the pooled means is left out: equal recordings are equal.
    """

    dim, shortest = 512, 5

    def __init__(self) -> None:
        super().__init__()
        bands = 24
        self.features = MelBands(bands)
        layers: list[nn.Module] = []
        inputs = bands
        for outputs, kernel, dilation in ((512, 5, 1), (512, 3, 2), (512, 3, 3), (512, 1, 1), (1500, 1, 1)):
            layers += [Convolution(inputs, outputs, kernel, dilation), nn.LeakyReLU(), Norm(outputs)]
            inputs = outputs
        self.blocks = nn.ModuleList([*layers, Statistics(), Projection(2 * inputs, self.dim)])

    def forward(self, waves: Tensor) -> Tensor:
        """Embed ``(B, T)`` at 16 kHz, of :attr:`shortest` frames at least, as ``(B, 512)`` of any length."""
        x = self.features(waves)
        for block in self.blocks:
            x = block(x)
        return x


def _statistics(x: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return weighted mean and deviation over time of ``(B, C, N)``, each ``(B, C, 1)``; weights have a sum of 1."""
    mean = (weights * x).sum(2, keepdim=True)
    return mean, (weights * (x - mean).square()).sum(2, keepdim=True).clamp(min=1e-12).sqrt()
