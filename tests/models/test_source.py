from __future__ import annotations

import numpy as np
import pytest
import torch

from models.hifigan.generator import Generator
from models.hifigan.source import NOISE_SAMPLES, SourceFilter, excitation, pulses
from speech.pitch import extract_f0

RATE, HOP = 16000, 80


def at_zero(batch: int = 1) -> torch.Tensor:
    return torch.zeros(batch, dtype=torch.float64)


@pytest.mark.parametrize("hertz", [62.5, 100.0, 250.0])
def test_pulses_are_equal_harmonics_and_nothing_else(hertz: float) -> None:
    wave = pulses(torch.full((1, 1, 320), hertz), HOP, at_zero())[0, 0].numpy()
    spectrum = np.abs(np.fft.rfft(wave)) / (len(wave) / 2)
    per_harmonic = round(hertz * len(wave) / RATE)
    harmonics = spectrum[per_harmonic : len(spectrum) - 1 : per_harmonic]
    np.testing.assert_allclose(harmonics[:-1], harmonics[0], rtol=1e-2)
    rest = np.delete(spectrum, np.arange(0, len(spectrum), per_harmonic))
    assert rest.max() < 1e-2 * harmonics[0]
    assert np.mean(wave**2) == pytest.approx(1.0, rel=4e-2)


def test_a_pitch_tracker_hears_the_contour() -> None:
    contour = 120 + 40 * np.sin(np.linspace(0, 6, 300))
    wave = pulses(torch.tensor(contour, dtype=torch.float32).view(1, 1, -1), HOP, at_zero())[0, 0].numpy()
    # Smoothed, for a tracker compares samples one period apart and bare pulses fall between them.
    heard = extract_f0(np.convolve(wave, np.hanning(24) / 24, "same"), "harvest")[20:-20]
    assert np.mean(heard > 0) > 0.98
    cents = 1200 * np.log2(heard[heard > 0] / contour[20:-20][heard > 0])
    assert np.median(np.abs(cents)) < 15


def test_pieces_continue_the_whole() -> None:
    f0 = 100 + 50 * torch.rand(2, 1, 120)
    whole = excitation(f0, HOP)
    before = (f0[..., :50].double().sum(2) * HOP / RATE)[:, 0]
    piece = excitation(f0[..., 50:], HOP, before, 50 * HOP)
    torch.testing.assert_close(piece[:, 1], whole[:, 1, 50 * HOP :])
    difference = (piece[:, 0] - whole[:, 0, 50 * HOP :]).abs()
    assert difference.max() < 1e-2
    assert difference.mean() < 1e-4


def test_noise_is_white_and_repeats_only_after_its_length() -> None:
    noise = excitation(torch.full((1, 1, 400), 100.0), HOP)[0, 1]
    assert noise.var() == pytest.approx(1.0, rel=0.05)
    assert abs(torch.corrcoef(torch.stack([noise[:-1], noise[1:]]))[0, 1]) < 0.02
    later = excitation(torch.full((1, 1, 2), 100.0), HOP, start=NOISE_SAMPLES)[0, 1]
    torch.testing.assert_close(later, noise[:160])


def test_flat_spectra_pass_the_source_unchanged() -> None:
    shaper = SourceFilter(4, 320)
    for parameter in shaper.parameters():
        torch.nn.init.zeros_(parameter)
    source = excitation(torch.full((2, 1, 40), 130.0), HOP)
    torch.testing.assert_close(shaper(torch.randn(2, 4, 10), source)[:, 0], source.sum(1), rtol=1e-4, atol=1e-4)


def test_features_choose_the_spectrum() -> None:
    """A last layer that passes pulses below 2 kHz and nothing else leaves energy only there."""
    shaper = SourceFilter(4, 320)
    bins = shaper.FFT // 2 + 1
    last = shaper.spectra[-1]
    assert isinstance(last.bias, torch.nn.Parameter)
    torch.nn.init.zeros_(last.weight)
    last.bias.data.fill_(-30.0)
    last.bias.data[: bins // 4] = 0.0
    wave = shaper(torch.randn(1, 4, 50), excitation(torch.full((1, 1, 200), 130.0), HOP))[0, 0].detach().numpy()
    power = np.abs(np.fft.rfft(wave)) ** 2
    assert power[len(power) // 4 + 200 :].sum() < 1e-3 * power.sum()


def test_generator_with_a_source_trains_every_weight() -> None:
    torch.manual_seed(0)
    generator = Generator(8, 32, [5, 4, 4, 4], [11, 8, 8, 8], [3], [[1, 3]], source=True)
    wave = generator(torch.randn(2, 8, 7), excitation(torch.full((2, 1, 28), 100.0), HOP))
    assert wave.shape == (2, 1, 7 * 320)
    wave.square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in generator.parameters())


def test_a_fresh_generator_hears_its_units() -> None:
    """At the start a change of features must move the waveform about as much as the waveform is loud."""
    torch.manual_seed(0)
    generator = Generator(64, 96, [5, 4, 4, 4], [11, 8, 8, 8], [11], [[1, 3, 9]])
    features = torch.randn(2, 64, 14)
    with torch.no_grad():
        first, second = generator(features)
    assert (first - second).std() > 0.5 * first.std()
    assert 0.01 < first.std() < 0.5
