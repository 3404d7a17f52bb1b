"""The digit classifier's input: one second as a log-mel of 32 bands and 32 frames (SaShiMi's benchmark of SC09).

STFT of 2048 samples every 512, centred; 32 Slaney mel bands of power; decibels below the loudest, to 80 dB.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from speech.mel_spectrogram import MelSettings, mel_filterbank
from speech.rates import SAMPLE_RATE

if TYPE_CHECKING:
    import torch

SAMPLES = SAMPLE_RATE  # a recording of one second
N_FFT, HOP, BANDS = 2048, 512, 32
RANGE_DB, FLOOR = 80.0, 1e-10
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def one_second(wave: np.ndarray, place: float = 0.5) -> np.ndarray:
    """Fit ``(T,)`` to ``(16000,)``: cut what is longer, put zeros around what is shorter; ``place`` 0 left, 1 right."""
    spare = SAMPLES - len(wave)
    before = round(abs(spare) * place)
    if spare < 0:
        return wave[before : before + SAMPLES]
    return np.pad(wave, (before, spare - before))


def digit_mel(waves: torch.Tensor) -> torch.Tensor:
    """Compute ``(B, 1, 32, 32)`` dB, -80 to 0 of each recording's loudest, of ``(B, 16000)`` float32 at 16 kHz."""
    import torch

    window = torch.hann_window(N_FFT, device=waves.device)
    spectrum = torch.stft(waves, N_FFT, HOP, window=window, pad_mode="constant", return_complex=True)
    power = _filters().to(waves.device) @ spectrum.abs().square()
    decibels = 10 * torch.log10(power.clamp(min=FLOOR))
    return (decibels - decibels.amax((1, 2), keepdim=True)).clamp(min=-RANGE_DB)[:, None]


@functools.cache
def _filters() -> torch.Tensor:
    import torch

    return torch.from_numpy(mel_filterbank(MelSettings(SAMPLES, N_FFT, HOP, BANDS)))
