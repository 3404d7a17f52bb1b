"""Multi-period and multi-scale discriminators (Kong et al. 2020, section 2.3), of any width.

Each maps a waveform ``(B, 1, T)`` to a score ``(N, S)`` and its feature maps, the score map included, as published.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool1d, leaky_relu, normalize, pad
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm

from models.hifigan.sending import Sendable

SLOPE = 0.1
Output = tuple[Tensor, list[Tensor]]

# (output channels, stride) and (output channels, kernel, stride, groups) of the published convolutions.
_PERIOD_LAYERS = ((32, 3), (128, 3), (512, 3), (1024, 3), (1024, 1))
_SCALE_LAYERS = (
    (128, 15, 1, 1),
    (128, 41, 2, 4),
    (256, 41, 2, 16),
    (512, 41, 4, 16),
    (1024, 41, 4, 16),
    (1024, 41, 1, 16),
    (1024, 5, 1, 1),
)


class SpectralNorm(nn.Module):
    """Spectral norm: a weight over its largest singular value, by one power iteration per training forward.

    torch's own parametrisation iterates in the other order (u before v), which gives other numbers for the same
    checkpoint; the published weights were made with v before u (Miyato et al. 2018, algorithm 1).
    """

    u: Tensor
    v: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        rows = weight.detach().flatten(1)
        self.register_buffer("u", normalize(torch.randn(rows.shape[0]), dim=0, eps=1e-12))
        self.register_buffer("v", normalize(torch.randn(rows.shape[1]), dim=0, eps=1e-12))

    def forward(self, weight: Tensor) -> Tensor:
        """Divide a weight by its largest singular value; in training the estimate moves by one iteration."""
        matrix = weight.flatten(1)
        if self.training:
            with torch.no_grad():
                self.v.copy_(normalize(matrix.t() @ self.u, dim=0, eps=1e-12))
                self.u.copy_(normalize(matrix @ self.v, dim=0, eps=1e-12))
        # Clones, because the next forward overwrites the buffers before this one's backward.
        u, v = self.u.clone(), self.v.clone()
        return weight / torch.dot(u, matrix @ v)


class PeriodDiscriminator(nn.Module):
    """Discriminator of every ``period``-th sample: 1-D convolutions over each phase of the wave.

    The published form is a 2-D convolution with kernels (5, 1), which is the same thing; one phase per batch row is
    faster. Feature maps are therefore ``(B * period, C, T')``.
    """

    def __init__(self, period: int, width: float = 1.0) -> None:
        super().__init__()
        self.period = period
        self.convs = nn.ModuleList()
        before = 1
        for channels, stride in _PERIOD_LAYERS:
            after = _scaled(channels, width, 4)
            self.convs.append(weight_norm(nn.Conv1d(before, after, 5, stride, padding=2)))
            before = after
        self.conv_post = weight_norm(nn.Conv1d(before, 1, 3, padding=1))

    def forward(self, wave: Tensor) -> Output:
        """Map waveforms ``(B, 1, T)`` to scores ``(B, S)`` and feature maps."""
        batch, _, length = wave.shape
        missing = -length % self.period
        if missing:
            wave = pad(wave, (0, missing), mode="reflect")
        x = wave.view(batch, -1, self.period).transpose(1, 2).reshape(batch * self.period, 1, -1)
        return _run(self.convs, self.conv_post, x, batch)


class ScaleDiscriminator(nn.Module):
    """Discriminator by grouped convolutions over the wave; ``spectral``: spectral instead of weight norm."""

    def __init__(self, width: float = 1.0, spectral: bool = False) -> None:
        super().__init__()
        norm: Callable[[nn.Conv1d], nn.Module] = _spectral_norm if spectral else weight_norm
        self.convs = nn.ModuleList()
        before = 1
        for channels, kernel, stride, groups in _SCALE_LAYERS:
            after = _scaled(channels, width, 16)
            conv = nn.Conv1d(before, after, kernel, stride, groups=groups, padding=kernel // 2)
            self.convs.append(norm(conv))
            before = after
        self.conv_post = norm(nn.Conv1d(before, 1, 3, padding=1))

    def forward(self, wave: Tensor) -> Output:
        """Map waveforms ``(B, 1, T)`` to scores ``(B, S)`` and feature maps."""
        return _run(self.convs, self.conv_post, wave, wave.shape[0])


class Discriminators(Sendable):
    """Discriminators of all periods and scales together: (score, feature maps) of each, periods first.

    Scale *i* sees the wave averaged down i times; the first is spectrally normalised. ``width`` 1.0 is published.
    """

    def __init__(self, width: float = 1.0, periods: Sequence[int] = (2, 3, 5, 7, 11), scales: int = 3) -> None:
        super().__init__()
        self.mpd = nn.ModuleList(PeriodDiscriminator(period, width) for period in periods)
        self.msd = nn.ModuleList(ScaleDiscriminator(width, spectral=scale == 0) for scale in range(scales))

    def forward(self, wave: Tensor) -> list[Output]:
        """Map waveforms ``(B, 1, T)`` to (score, feature maps) of every period, then of every scale."""
        outputs = [discriminator(wave) for discriminator in self.mpd]
        for scale, discriminator in enumerate(self.msd):
            if scale:
                wave = avg_pool1d(wave, 4, 2, padding=2)
            outputs.append(discriminator(wave))
        return outputs


def _run(convs: nn.ModuleList, post: nn.Module, x: Tensor, batch: int) -> Output:
    features = []
    for conv in convs:
        x = leaky_relu(conv(x), SLOPE)
        features.append(x)
    x = post(x)
    features.append(x)
    return x.reshape(batch, -1), features


def _scaled(channels: int, width: float, multiple: int) -> int:
    return max(multiple, round(channels * width / multiple) * multiple)


def _spectral_norm(module: nn.Conv1d) -> nn.Module:
    parametrize.register_parametrization(module, "weight", SpectralNorm(module.weight))
    return module
