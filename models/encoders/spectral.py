"""Signal features by Kaldi's recipe: log-mel filterbanks (as GSLM uses) and MFCC with deltas (HuBERT's first targets).

Kaldi's conventions: the mean of a window is taken out, pre-emphasis 0.97, Povey window, power spectrum, triangular
filters on the mel scale ``1127 ln(1 + f / 700)``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from models.encoders.base import WINDOW, ContentEncoder
from speech.rates import SAMPLE_RATE, UNIT_HOP

FFT = 512
PREEMPHASIS = 0.97
LIFTER = 22  # Kaldi's cepstral lifter: brings the higher coefficients to the size of the lower ones
DELTA_WIDTH = 2  # frames each side of the regression that gives deltas


class LogMel(ContentEncoder):
    """Log-mel filterbank, ``bands`` per frame of 25 ms.

    Args:
        bands: mel bands (GSLM: 80).
        low_hz, high_hz: edges of the filterbank in Hz. Recordings made at 8 kHz have nothing above 4000.
        floor: least power of a band. The default is Kaldi's; digital silence lies there.

    Raises:
        ValueError: the bands do not lie below 8000 Hz.
    """

    kind = "logmel"
    receptive_field = WINDOW
    window: Tensor
    filters: Tensor

    def __init__(
        self, bands: int = 80, low_hz: float = 20.0, high_hz: float = 8000.0, floor: float = 1.1920928955078125e-07
    ) -> None:
        super().__init__()
        _check_bands(bands, low_hz, high_hz)
        self.dim = bands
        self.floor = floor
        self.register_buffer("window", _povey_window(), persistent=False)
        self.register_buffer("filters", mel_filters(bands, low_hz, high_hz), persistent=False)

    def encode(self, padded: Tensor, lengths: Tensor | None, layers: Sequence[int]) -> list[Tensor]:
        """Return log power by band; see ``ContentEncoder.encode``."""
        return [self.log_power(padded)] * len(layers)

    def log_power(self, padded: Tensor) -> Tensor:
        """Return log power by band ``(B, N, bands)`` of padded waveforms."""
        windows = padded.unfold(1, WINDOW, UNIT_HOP)
        windows = windows - windows.mean(dim=2, keepdim=True)
        previous = F.pad(windows, (1, 0), mode="replicate")[..., :-1]
        spectrum = torch.fft.rfft((windows - PREEMPHASIS * previous) * self.window, n=FFT)
        power = spectrum.real.square() + spectrum.imag.square()
        return torch.log((power @ self.filters).clamp_min(self.floor))


class MFCC(ContentEncoder):
    """Mel-frequency cepstra with their first and second differences: ``3 * coefficients`` per frame.

    Args:
        coefficients: cepstra per frame, the zeroth included (13, so D = 39).
        bands: mel bands (Kaldi: 23).
        low_hz, high_hz: edges of the filterbank in Hz.
        floor: least power of a band, here -80 dB of a full-scale tone: at Kaldi's 1e-7 the few frames of digital
            silence after a short word would dominate its mean and variance.

    Raises:
        ValueError: more coefficients than bands, or the bands do not lie below 8000 Hz.
    """

    kind = "mfcc"
    receptive_field = WINDOW + 4 * DELTA_WIDTH * UNIT_HOP
    transform: Tensor
    regression: Tensor

    def __init__(
        self,
        coefficients: int = 13,
        bands: int = 23,
        low_hz: float = 20.0,
        high_hz: float = 8000.0,
        floor: float = 1e-4,
    ) -> None:
        super().__init__()
        if not 1 <= coefficients <= bands:
            raise ValueError(f"encoder.options.coefficients: {coefficients} is outside 1 to bands ({bands})")
        self.dim = 3 * coefficients
        self.spectrum = LogMel(bands, low_hz, high_hz, floor)
        self.register_buffer("transform", _cepstral_transform(bands, coefficients), persistent=False)
        steps = torch.arange(-DELTA_WIDTH, DELTA_WIDTH + 1, dtype=torch.float32)
        self.register_buffer("regression", steps / steps.square().sum(), persistent=False)

    def encode(self, padded: Tensor, lengths: Tensor | None, layers: Sequence[int]) -> list[Tensor]:
        """Return cepstra, their differences and the differences of those; see ``ContentEncoder.encode``."""
        frames = None if lengths is None else torch.div(lengths, self.hop, rounding_mode="floor")
        cepstra = _hold_last(self.spectrum.log_power(padded) @ self.transform, frames)
        deltas = _hold_last(self._differences(cepstra), frames)
        return [torch.cat([cepstra, deltas, self._differences(deltas)], dim=2)] * len(layers)

    def _differences(self, features: Tensor) -> Tensor:
        if not features.shape[1]:
            return features
        batch, count, dim = features.shape
        series = features.transpose(1, 2).reshape(batch * dim, 1, count)
        padded = F.pad(series, (DELTA_WIDTH, DELTA_WIDTH), mode="replicate")
        return F.conv1d(padded, self.regression[None, None]).reshape(batch, dim, count).transpose(1, 2)


def _hold_last(features: Tensor, frames: Tensor | None) -> Tensor:
    """Repeat each recording's last frame over the batch's padding: what the differences see at its end alone."""
    if frames is None or not features.shape[1]:
        return features
    last = (frames.to(features.device) - 1).clamp_min(0)[:, None]
    index = torch.minimum(torch.arange(features.shape[1], device=features.device)[None], last)
    return features.gather(1, index[..., None].expand_as(features))


def _check_bands(bands: int, low_hz: float, high_hz: float) -> None:
    if bands < 1:
        raise ValueError(f"encoder.options.bands: {bands} is below 1")
    if not 0 <= low_hz < high_hz <= SAMPLE_RATE / 2:
        limits = f"low_hz {low_hz} and high_hz {high_hz}"
        raise ValueError(f"encoder.options.high_hz: {limits} must lie in 0 to {SAMPLE_RATE // 2} in this order")


def _povey_window() -> Tensor:
    return torch.hann_window(WINDOW, periodic=False, dtype=torch.float64).pow(0.85).float()


def mel_filters(bands: int, low_hz: float, high_hz: float) -> Tensor:
    """Return Kaldi's triangular filters, equally high, evenly spaced in mel: ``(FFT // 2 + 1, bands)`` float32."""

    def mel(hertz: Tensor) -> Tensor:
        return 1127.0 * torch.log1p(hertz / 700.0)

    low, high = (float(mel(torch.tensor(hertz, dtype=torch.float64))) for hertz in (low_hz, high_hz))
    edges = torch.linspace(low, high, bands + 2, dtype=torch.float64)
    bins = mel(torch.arange(FFT // 2 + 1, dtype=torch.float64) * SAMPLE_RATE / FFT)[:, None]
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (bins - left) / (centre - left), (right - bins) / (right - centre)
    filters = torch.minimum(rising, falling).clamp_min(0.0)
    filters[-1] = 0.0  # Kaldi leaves out the Nyquist bin
    return filters.float()


def _cepstral_transform(bands: int, coefficients: int) -> Tensor:
    """Return the orthonormal DCT-II with Kaldi's lifter: ``(bands, coefficients)``."""
    band = torch.arange(bands, dtype=torch.float64)[:, None]
    order = torch.arange(coefficients, dtype=torch.float64)[None]
    cosines = torch.cos(math.pi / bands * (band + 0.5) * order) * math.sqrt(2.0 / bands)
    cosines[:, 0] = math.sqrt(1.0 / bands)
    return (cosines * (1.0 + 0.5 * LIFTER * torch.sin(math.pi * order / LIFTER))).float()
