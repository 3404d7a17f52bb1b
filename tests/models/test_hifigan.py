from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.hifigan import Discriminators, Generator, losses
from models.hifigan.discriminators import Output, PeriodDiscriminator, SpectralNorm
from models.hifigan.fourier import FourierConvolution
from models.hifigan.training import GanTraining, LossWeights
from models.training import Batch, Schedule


def test_generator_length_is_frames_times_hop() -> None:
    wave = Generator(8, 32, [5, 4, 4, 2, 2], [11, 8, 8, 4, 4], [3], [[1, 3]])(torch.randn(2, 8, 7))
    assert wave.shape == (2, 1, 7 * 320)
    assert wave.abs().max() <= 1


def test_folding_weight_norm_keeps_the_output() -> None:
    torch.manual_seed(0)
    generator = Generator(8, 32, [5, 4], [11, 8], [3, 7], [[1, 3], [1, 3]]).eval()
    features = torch.randn(1, 8, 10)
    with torch.no_grad():
        before = generator(features)
        generator.remove_weight_norm()
        torch.testing.assert_close(generator(features), before)
    assert not any("parametrizations" in key for key in generator.state_dict())


@pytest.mark.parametrize(("taps", "dilation", "frames"), [(7, 1, 1), (11, 1, 22), (11, 5, 333), (16, 3, 40)])
def test_a_convolution_by_fourier_transform_is_torchs(taps: int, dilation: int, frames: int) -> None:
    torch.manual_seed(0)
    conv = nn.Conv1d(6, 9, taps, dilation=dilation, padding=(taps - 1) * dilation // 2)
    x = torch.randn(2, 6, frames)
    with torch.inference_mode():
        expected = conv(nn.functional.pad(x, (0, (taps - 1) * dilation % 2)))
        for laid in (x, x.transpose(1, 2).contiguous().transpose(1, 2)):
            torch.testing.assert_close(FourierConvolution(conv)(laid), expected, atol=1e-5, rtol=1e-4)


def test_long_pieces_of_a_convolution_join(monkeypatch: pytest.MonkeyPatch) -> None:
    conv, x = nn.Conv1d(4, 4, 11, padding=5), torch.randn(1, 4, 500)
    with torch.inference_mode():
        whole = FourierConvolution(conv)(x)
        monkeypatch.setattr("models.hifigan.fourier.PIECE", 1000)
        torch.testing.assert_close(FourierConvolution(conv)(x), whole)


def test_a_prepared_generator_says_the_same_and_may_still_be_trained_and_moved() -> None:
    torch.manual_seed(0)
    generator = Generator(8, 128, [5, 4], [11, 8], [3, 11], [[1, 3], [1, 3]]).eval()
    features = torch.randn(2, 8, 10)
    expected = generator(features).detach()
    fast = [block for block in generator.prepare().resblocks if block._fast]
    assert len(fast) == 2, "the long kernels, and they alone"
    with torch.no_grad():
        quick = generator(features)
    assert not torch.equal(quick, expected)
    torch.testing.assert_close(quick, expected, atol=1e-5, rtol=1e-4)
    assert generator(features).requires_grad, "where gradients are asked for there are some"
    double = generator.double()(features.double())
    torch.testing.assert_close(double.float(), expected, atol=1e-5, rtol=1e-4)
    generator.float().prepare().train()(features).sum().backward()
    assert all(p.grad is not None for p in generator.parameters())


def test_published_sizes() -> None:
    counted = Discriminators()
    periods = sum(p.numel() for p in counted.mpd[0].parameters())
    scales = sum(p.numel() for p in counted.msd[1].parameters())
    assert periods == pytest.approx(8.22e6, rel=2e-3)
    assert scales == pytest.approx(9.87e6, rel=2e-3)


@pytest.mark.parametrize("width", [0.0625, 0.125, 0.25])
def test_narrow_discriminators_run(width: float) -> None:
    discriminators = Discriminators(width, [2, 3], 2)
    outputs = discriminators(torch.randn(2, 1, 2000))
    assert len(outputs) == 4
    assert all(score.shape[0] == 2 for score, _ in outputs)


def test_spectral_norm_agrees_with_the_largest_singular_value() -> None:
    torch.manual_seed(0)
    weight = torch.randn(12, 5, 3)
    norm = SpectralNorm(weight).train()
    for _ in range(200):
        normed = norm(weight)
    largest = torch.linalg.svdvals(weight.flatten(1))[0]
    torch.testing.assert_close(normed, weight / largest, rtol=1e-4, atol=1e-5)


def test_joint_forward_equals_separate_ones() -> None:
    torch.manual_seed(0)
    discriminators = Discriminators(0.0625, [2, 3], 2).eval()
    real, fake = torch.randn(2, 1, 1600), torch.randn(2, 1, 1600)
    for (joint, _), (a, _), (b, _) in zip(
        discriminators(torch.cat([real, fake])), discriminators(real), discriminators(fake), strict=True
    ):
        torch.testing.assert_close(joint, torch.cat([a, b]))


def test_losses_vanish_where_they_should() -> None:
    wave = torch.randn(1, 1, 4000)
    perfect = [(torch.ones(1, 3), [wave])]
    fooled = [(torch.zeros(1, 3), [wave])]
    assert losses.discriminator_loss(perfect, fooled) == 0
    assert losses.adversarial_loss(perfect) == 0
    assert losses.feature_loss(perfect, fooled) == 0
    assert losses.mel_loss(wave, wave) == 0
    assert losses.stft_loss(wave, wave) == 0
    assert losses.stft_loss(wave, wave * 0.5) == pytest.approx(0.5 + 0.6931, rel=0.02)


def test_one_period_is_a_two_dimensional_convolution() -> None:
    torch.manual_seed(0)
    period: Any = Discriminators(0.0625, [3], 0).mpd[0]
    wave = torch.randn(2, 1, 3 * 50)
    first = period.convs[0]
    _, maps = period(wave)
    published = nn.functional.conv2d(
        wave.view(2, 1, 50, 3), first.weight.unsqueeze(3), first.bias, stride=(3, 1), padding=(2, 0)
    )
    ours = maps[0].view(2, 3, -1, maps[0].shape[2]).permute(0, 2, 3, 1)
    torch.testing.assert_close(ours, nn.functional.leaky_relu(published, 0.1))


def test_the_floor_hides_what_is_quieter_and_nothing_else() -> None:
    noise = torch.randn(2, 1, 16000, generator=torch.Generator().manual_seed(0))
    hiss, other_hiss = 1e-4 * noise[:1], 1e-4 * noise[1:]
    assert losses.mel_loss(hiss, other_hiss) > 0.1
    assert losses.mel_loss(hiss, other_hiss, floor=0.003) == 0
    assert losses.stft_loss(hiss, other_hiss, floor=0.003) < losses.stft_loss(hiss, other_hiss)
    assert losses.mel_loss(noise, noise / 2, floor=0.003) == pytest.approx(0.6931, rel=0.01)


class Loudness(GanTraining):
    """A generator of another kind, with a loss of its own."""

    def generate(self, batch: Batch) -> Tensor:
        return self.generator(batch["audio"])

    def extra_losses(self, batch: Batch) -> dict[str, Tensor]:
        return {"weight": self.generator.weight.square().sum()}


@pytest.mark.parametrize("adversarial_from_step", [0, 9])
def test_any_generator_and_discriminators_train_with_losses_of_their_own(adversarial_from_step: int) -> None:
    def generator_loss(weight: float) -> dict[str, float]:
        torch.manual_seed(0)
        networks = (nn.Conv1d(1, 1, 3, padding=1), PeriodsOnly())
        weights = LossWeights(extra={"weight": weight})
        module = Loudness(*networks, weights, adversarial_from_step, Schedule(), 0)
        optimisers = module.configure_optimizers()
        module.optimizers = lambda: optimisers  # type: ignore[method-assign]
        module.manual_backward = lambda loss: loss.backward()  # type: ignore[method-assign]
        module.training_step({"audio": torch.randn(2, 1, 4096, generator=torch.Generator().manual_seed(1))}, 0)
        return {name: float(value) for name, value in module.metrics.items()}

    without, with_it = generator_loss(0.0), generator_loss(2.0)
    assert ("train/loss_discriminator" in without) == (adversarial_from_step == 0)
    assert with_it["train/loss_weight"] == without["train/loss_weight"] > 0
    expected = without["train/loss_generator"] + 2 * without["train/loss_weight"]
    assert with_it["train/loss_generator"] == pytest.approx(expected, rel=1e-5)


class PeriodsOnly(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = PeriodDiscriminator(2, 0.0625)

    def forward(self, wave: Tensor) -> list[Output]:
        return [self.one(wave)]
