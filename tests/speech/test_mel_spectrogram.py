from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch

from speech.mel_spectrogram import MelSettings, hz_to_mel, log_mel, mel_filterbank, mel_to_hz


@pytest.mark.parametrize(
    "settings",
    [MelSettings(), MelSettings(f_max=8000.0), MelSettings(22050, 512, 128, 40, 50.0, 7600.0)],
)
def test_filterbank_is_librosas(settings: MelSettings) -> None:
    theirs = librosa.filters.mel(
        sr=settings.sample_rate,
        n_fft=settings.n_fft,
        n_mels=settings.n_mels,
        fmin=settings.f_min,
        fmax=settings.f_max,
    )
    np.testing.assert_allclose(mel_filterbank(settings), theirs, atol=1e-8, rtol=1e-5)


def test_mel_scale_is_slaneys_and_inverts() -> None:
    hz = np.array([0.0, 440.0, 1000.0, 4000.0, 8000.0])
    np.testing.assert_allclose(hz_to_mel(hz), librosa.hz_to_mel(hz))
    np.testing.assert_allclose(mel_to_hz(hz_to_mel(hz)), hz, atol=1e-9)


def test_gradient_is_finite_in_silence() -> None:
    wave = torch.zeros(1, 4096, requires_grad=True)
    log_mel(wave).sum().backward()
    assert wave.grad is not None
    assert torch.isfinite(wave.grad).all()
