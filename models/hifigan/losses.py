"""Losses of HiFi-GAN (Kong et al. 2020, section 2.4) and a multi-resolution STFT loss (Yamamoto et al. 2020)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import l1_loss

from models.hifigan.discriminators import Output
from speech.mel_spectrogram import PUBLISHED, MelSettings, log_mel

# FFT sizes in samples at 16 kHz: 64, 32 and 16 ms; the hop is a quarter of each. None is longer: it would resolve F0 to
# a few Hz, finer than quantised F0 tells, and might price noise below harmonics in the wrong place.
STFT_SIZES = (1024, 512, 256)
# The published clamp under the log-mel of HiFi-GAN and of the resynthesis paper's code.
MEL_FLOOR = 1e-5
# A Slaney filter at 16 kHz and 1024 points sums to about this: a mel value is this share of its bins' magnitude.
MEL_BIN_GAIN = 0.064


def discriminator_loss(real: Sequence[Output], fake: Sequence[Output]) -> Tensor:
    """Return the least-squares loss: real scores to 1, fake ones to 0, summed over discriminators."""
    losses = [(1 - r).square().mean() + f.square().mean() for (r, _), (f, _) in zip(real, fake, strict=True)]
    return torch.stack(losses).sum()


def adversarial_loss(fake: Sequence[Output]) -> Tensor:
    """Return the least-squares loss: fake scores to 1, summed over discriminators."""
    return torch.stack([(1 - score).square().mean() for score, _ in fake]).sum()


def feature_loss(real: Sequence[Output], fake: Sequence[Output]) -> Tensor:
    """Return the mean absolute difference of every feature map, summed over maps and discriminators (unweighted)."""
    losses = [
        l1_loss(ours, theirs.detach())
        for (_, real_maps), (_, fake_maps) in zip(real, fake, strict=True)
        for theirs, ours in zip(real_maps, fake_maps, strict=True)
    ]
    return torch.stack(losses).sum()


def mel_loss(real: Tensor, fake: Tensor, settings: MelSettings = PUBLISHED, floor: float = MEL_FLOOR) -> Tensor:
    """Return the mean absolute difference of log-mels of two waves ``(B, 1, T)`` (unweighted).

    Mel magnitudes below ``floor`` count as ``floor``. With the published one (1e-5) a loss of logarithms also compares
    how silent a band is that the recordings leave empty; a higher floor leaves such bands out.
    """
    # A logarithm of small magnitudes has no business in half precision.
    with torch.autocast(real.device.type, enabled=False):
        with torch.no_grad():
            target = log_mel(real.float().squeeze(1), settings).clamp(min=math.log(floor))
        return l1_loss(log_mel(fake.float().squeeze(1), settings).clamp(min=math.log(floor)), target)


def stft_loss(real: Tensor, fake: Tensor, sizes: Sequence[int] = STFT_SIZES, floor: float = MEL_FLOOR) -> Tensor:
    """Return spectral convergence plus log-magnitude distance of waves ``(B, 1, T)``, the mean over FFT sizes.

    ``floor`` is that of :func:`mel_loss`, in mel magnitude; here it is scaled to that of single bins.
    """
    least = math.log(floor / MEL_BIN_GAIN)
    with torch.autocast(real.device.type, enabled=False):
        losses = []
        for size in sizes:
            with torch.no_grad():
                target = _magnitude(real.float().squeeze(1), size)
            ours = _magnitude(fake.float().squeeze(1), size)
            losses.append(torch.linalg.norm(target - ours) / torch.linalg.norm(target).clamp(min=1e-5))
            losses.append(l1_loss(torch.log(ours).clamp(min=least), torch.log(target).clamp(min=least)))
        return torch.stack(losses).sum() / len(sizes)


def _magnitude(wave: Tensor, size: int) -> Tensor:
    window = torch.hann_window(size, device=wave.device)
    spectrum = torch.stft(wave, size, size // 4, window=window, return_complex=True)
    return torch.sqrt(spectrum.real.square() + spectrum.imag.square() + 1e-7)
