"""A source for the generator to filter: pulses at F0 and noise, each through a filter that the features choose.

Not in the published generator, which makes its own periods out of nothing and learns to over some hundred thousand
steps. A generator that is given them (Wang et al. 2019, neural source-filter; Engel et al. 2020, filtered harmonics
plus filtered noise) has the right pitch from the first few hundred.
"""

from __future__ import annotations

import functools
import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from speech.rates import SAMPLE_RATE

F0_RANGE = (50.0, 600.0)
# Positions in a recording index this many samples of noise, so that a piece of it meets the noise of the whole.
NOISE_SAMPLES = 2**18
_SMALL = 1e-4


def pulses(f0: Tensor, hop: int, phase: Tensor) -> Tensor:
    """Return a band-limited pulse train: all harmonics of F0 below half the sample rate, equally loud, of unit power.

    Args:
        f0: ``(B, 1, N)`` in Hz, above 0 everywhere; it holds for ``hop`` samples each.
        hop: samples per value.
        phase: ``(B,)`` float64, in periods, of the first sample.

    Returns:
        ``(B, 1, N * hop)`` float32 at 16 kHz.
    """
    step = (f0.double() / SAMPLE_RATE).repeat_interleave(hop, dim=2)
    cycles = torch.cumsum(step, 2) - step + phase.view(-1, 1, 1)
    angle = ((cycles - cycles.floor()) * math.tau).float()
    harmonics = torch.floor(0.5 * SAMPLE_RATE / f0).repeat_interleave(hop, dim=2)
    # Dirichlet's kernel is the sum of cosines; at the pulse itself the quotient is 0 / 0 and its limit known.
    half = torch.sin(angle / 2)
    at_pulse = half.abs() < _SMALL
    quotient = torch.sin((harmonics + 0.5) * angle) / torch.where(at_pulse, _SMALL, half)
    kernel = torch.where(at_pulse, 2 * harmonics + 1, quotient)
    return (kernel - 1) / torch.sqrt(2 * harmonics)


def excitation(f0: Tensor, hop: int, phase: Tensor | None = None, start: int = 0) -> Tensor:
    """Return pulses and white noise for a generator.

    Args:
        f0: ``(B, 1, N)`` in Hz, above 0 everywhere.
        hop: samples per F0 value.
        phase: ``(B,)`` float64, in periods, of the first sample; 0 when None.
        start: position of the first sample in the recording; the noise at a position is always the same.

    Returns:
        ``(B, 2, N * hop)`` float32, pulses and noise, each of unit power.
    """
    batch, _, count = f0.shape
    if phase is None:
        phase = torch.zeros(batch, dtype=torch.float64, device=f0.device)
    places = (torch.arange(count * hop, device=f0.device) + start) % NOISE_SAMPLES
    noise = _noise().to(f0.device)[places].expand(batch, 1, -1)
    return torch.cat([pulses(f0, hop, phase), noise], dim=1)


@functools.cache
def _noise() -> Tensor:
    return torch.randn(NOISE_SAMPLES, generator=torch.Generator().manual_seed(0))


class SourceFilter(nn.Module):
    """Filters of pulses and noise that features at frame rate choose; the sum is a rough draft of the waveform.

    Args:
        in_channels: of the features.
        hop: samples per frame of the features; a multiple of ``FFT_HOP``.
        width: hidden channels.
    """

    FFT, FFT_HOP = 256, 64
    # Frames of the features that one output sample sees on either side: two convolutions and a window.
    REACH = 3 + 2 + 1

    def __init__(self, in_channels: int, hop: int, width: int = 192) -> None:
        super().__init__()
        self.repeats = hop // self.FFT_HOP
        bins = self.FFT // 2 + 1
        gains = nn.Conv1d(width, 2 * bins, 1)
        self.spectra = nn.Sequential(
            nn.Conv1d(in_channels, width, 7, padding=3),
            nn.LeakyReLU(0.1),
            nn.Conv1d(width, width, 5, padding=2),
            nn.LeakyReLU(0.1),
            gains,
        )
        # exp(-5): the draft starts some 40 dB down and grows into place.
        nn.init.constant_(cast("Tensor", gains.bias), -5.0)

    def forward(self, features: Tensor, source: Tensor) -> Tensor:
        """Filter sources ``(B, 2, L * hop)`` as features ``(B, in_channels, L)`` choose: ``(B, 1, L * hop)``."""
        with torch.autocast(features.device.type, enabled=False):
            logs = self.spectra(features.float())
            logs = interpolate(torch.cat([logs, logs[..., -1:]], 2), scale_factor=self.repeats, mode="linear")
            frames = features.shape[2] * self.repeats + 1
            # The bound keeps a wild step of early training finite.
            gains = logs[..., :frames].clamp(max=3.0).exp().chunk(2, dim=1)
            window = torch.hann_window(self.FFT, device=features.device)
            transform = functools.partial(torch.stft, n_fft=self.FFT, hop_length=self.FFT_HOP, window=window)
            pulse, noise = (transform(wave, return_complex=True) for wave in source.unbind(1))
            spectrum = pulse * gains[0] + noise * gains[1]
            wave = torch.istft(spectrum, self.FFT, self.FFT_HOP, window=window, length=source.shape[2])
        return wave.unsqueeze(1)
