"""Log-mel spectrogram of HiFi-GAN (Kong et al. 2020, section 2.1), differentiable in torch.

The filterbank is Slaney's (linear below 1 kHz, logarithmic above, each triangle of unit area). torch is imported
inside the functions, so that stages which only need the filterbank start fast.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from speech.rates import SAMPLE_RATE

if TYPE_CHECKING:
    import torch

_LINEAR_HZ_PER_MEL = 200.0 / 3.0
_LOG_FROM_HZ = 1000.0
_LOG_STEP = np.log(6.4) / 27.0


@dataclass(frozen=True)
class MelSettings:
    """The settings that define a log-mel; the defaults are the published ones at 16 kHz.

    ``n_fft`` and ``hop`` are in samples, ``f_min`` and ``f_max`` in Hz (``None``: half the sample rate).
    ``power_floor`` is added to power before its root is taken (0: Soft-VC's log-mel).
    """

    sample_rate: int = SAMPLE_RATE
    n_fft: int = 1024
    hop: int = 256
    n_mels: int = 80
    f_min: float = 0.0
    f_max: float | None = None
    power_floor: float = 1e-9


PUBLISHED = MelSettings()


def hz_to_mel(hz: np.ndarray) -> np.ndarray:
    """Convert Hz to Slaney's mel scale: 200/3 Hz per mel up to 1 kHz, then 27 mels per factor 6.4."""
    hz = np.asarray(hz, dtype=np.float64)
    log_from_mel = _LOG_FROM_HZ / _LINEAR_HZ_PER_MEL
    above = log_from_mel + np.log(np.maximum(hz, _LOG_FROM_HZ) / _LOG_FROM_HZ) / _LOG_STEP
    return np.where(hz < _LOG_FROM_HZ, hz / _LINEAR_HZ_PER_MEL, above)


def mel_to_hz(mel: np.ndarray) -> np.ndarray:
    """Convert mels to Hz, the inverse of :func:`hz_to_mel`."""
    mel = np.asarray(mel, dtype=np.float64)
    log_from_mel = _LOG_FROM_HZ / _LINEAR_HZ_PER_MEL
    above = _LOG_FROM_HZ * np.exp(_LOG_STEP * (np.maximum(mel, log_from_mel) - log_from_mel))
    return np.where(mel < log_from_mel, mel * _LINEAR_HZ_PER_MEL, above)


def mel_filterbank(settings: MelSettings = PUBLISHED) -> np.ndarray:
    """Make triangular filters of unit area, ``(n_mels, n_fft // 2 + 1)`` float32."""
    f_max = settings.sample_rate / 2 if settings.f_max is None else settings.f_max
    bins = np.linspace(0.0, settings.sample_rate / 2, settings.n_fft // 2 + 1)
    ends = hz_to_mel(np.array([settings.f_min, f_max]))
    edges = mel_to_hz(np.linspace(ends[0], ends[1], settings.n_mels + 2))
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (bins - low) / (centre - low), (high - bins) / (high - centre)
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return (triangles * (2.0 / (high - low))).astype(np.float32)


def log_mel(wave: torch.Tensor, settings: MelSettings = PUBLISHED) -> torch.Tensor:
    """Compute natural-log mel magnitudes, as the HiFi-GAN mel loss wants them.

    Args:
        wave: ``(B, T)`` float32 in [-1, 1] at ``settings.sample_rate``; T above (n_fft - hop) / 2.
        settings: sizes in samples and band edges in Hz.

    Returns:
        ``(B, n_mels, T // hop)`` float32, clamped below at log 1e-5.
    """
    import torch

    basis, window = _constants(settings, str(wave.device))
    pad = (settings.n_fft - settings.hop) // 2
    padded = torch.nn.functional.pad(wave.unsqueeze(1), (pad, pad), mode="reflect").squeeze(1)
    spectrum = torch.stft(padded, settings.n_fft, settings.hop, window=window, center=False, return_complex=True)
    if settings.power_floor:
        # The floor under the root keeps its gradient finite in silence.
        magnitude = torch.sqrt(spectrum.real.square() + spectrum.imag.square() + settings.power_floor)
    else:
        magnitude = spectrum.abs()  # whose gradient torch sets to zero there
    return torch.log(torch.clamp(basis @ magnitude, min=1e-5))


@functools.lru_cache(maxsize=16)
def _constants(settings: MelSettings, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    basis = torch.from_numpy(mel_filterbank(settings)).to(device)
    return basis, torch.hann_window(settings.n_fft, device=device)
