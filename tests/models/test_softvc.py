"""Soft-VC's networks: what padding may not change, what a step repeats, what weights of any spelling give."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models import public
from models.encoders import build_encoder
from models.encoders.soft import DiscreteHubert, SoftHubert
from models.hifigan import Discriminators
from models.hifigan.training import LossWeights
from models.softvc import MEL, AcousticModel, Vocoder
from models.softvc.acoustic import InstanceNorm
from models.softvc.acoustic_training import AcousticTraining, mel_distance
from models.softvc.mel import SHORTEST, SILENCE, wave_to_mel
from models.softvc.soft_unit_training import unit_loss
from models.softvc.stepping import State, Stepper
from models.softvc.vocoder_training import VocoderTraining, at_random_loudness
from models.training import Schedule

HUBERT = {
    "layers": 2,
    "heads": 2,
    "dim": 16,
    "feed_forward": 32,
    "conv_channels": 8,
    "position_kernel": 8,
    "position_groups": 2,
}
ACOUSTIC = {"unit_dim": 6, "mels": 8, "width": 10, "channels": 12, "hidden": 14}
VOCODER = {"initial_channels": 32, "resblock_kernels": [3], "resblock_dilations": [[1, 3]]}


def soft_hubert() -> SoftHubert:
    options = {"k": 5, "label_dim": 6, "hubert": {**HUBERT, "conv_channels": 20, "front_end": "log_mel"}}
    encoder = build_encoder({"kind": "soft_hubert", "options": options})
    assert isinstance(encoder, SoftHubert)
    return encoder


def acoustic(**sizes: int) -> AcousticModel:
    torch.manual_seed(0)
    return AcousticModel(**{**ACOUSTIC, **sizes}).eval()  # type: ignore[arg-type]


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def test_soft_units_are_as_many_as_discrete_ones_and_padding_changes_none() -> None:
    encoder, waves, lengths = soft_hubert(), 0.1 * noise(3, 6400), [6400, 3519, 320]
    together = encoder(waves, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        alone = encoder.units(waves[row : row + 1, None, :length])
        assert alone.shape == (1, length // 320, 6)
        torch.testing.assert_close(together[row, : length // 320], alone[0], atol=1e-5, rtol=1e-4)


def test_probabilities_are_those_of_training() -> None:
    encoder, waves = soft_hubert(), 0.1 * noise(2, 3200)
    expected = encoder.network(waves).softmax(-1)
    torch.testing.assert_close(encoder.probabilities(encoder.units(waves)), expected, atol=1e-5, rtol=1e-4)


def test_discrete_units_are_the_nearest_centres_of_the_layer() -> None:
    inner = build_encoder({"kind": "hubert", "layer": 1, "options": HUBERT})
    model, wave = DiscreteHubert(inner, noise(4, 16)), 0.1 * noise(1, 1, 3333)  # type: ignore[arg-type]
    expected = torch.cdist(model(wave[:, 0])[0], noise(4, 16)).argmin(1)
    assert torch.equal(model.units(wave), expected)
    with pytest.raises(ValueError, match="one waveform"):
        model.units(noise(2, 1, 3200))
    with pytest.raises(ValueError, match="no k-means centres"):
        DiscreteHubert(inner).units(wave)  # type: ignore[arg-type]


@pytest.mark.parametrize("discrete", [False, True])
def test_an_utterance_sounds_alike_in_any_batch(discrete: bool) -> None:
    model = acoustic(num_units=9) if discrete else acoustic()
    units = torch.randint(0, 9, (3, 7)) if discrete else noise(3, 7, 6)
    lengths = torch.tensor([7, 4, 1])
    encoded, said = model.encode(units, lengths), model.generate(units, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = units[row : row + 1, :length]
        torch.testing.assert_close(encoded[row, : 2 * length], model.encode(alone)[0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(said[row, : 2 * length], model.generate(alone)[0], atol=1e-5, rtol=1e-4)
    assert not encoded[1, 8:].any(), "behind the end there is nothing"


def test_the_published_norm_hears_padding() -> None:
    model, units, lengths = acoustic(mask_padding=False), noise(2, 7, 6), torch.tensor([7, 4])  # type: ignore[arg-type]
    alone = model.encode(units[1:, :4])[0]
    assert not torch.allclose(model.encode(units, lengths)[1, :8], alone, atol=1e-2)


def test_instance_norm_is_torchs() -> None:
    x = noise(2, 3, 11)
    torch.testing.assert_close(InstanceNorm()(x), torch.nn.InstanceNorm1d(3)(x))
    torch.testing.assert_close(InstanceNorm()(x, torch.ones(2, 1, 11)), torch.nn.InstanceNorm1d(3)(x))


def test_running_free_is_the_forward_pass_on_its_own_frames() -> None:
    model, units = acoustic(), noise(2, 6, 6)
    said = model.generate(units)
    previous = torch.nn.functional.pad(said, (0, 0, 1, -1))
    torch.testing.assert_close(model(units, previous), said, atol=1e-5, rtol=1e-4)


def test_a_decoder_goes_on_from_its_state() -> None:
    model = acoustic()
    encoded, stepper, state = model.encode(noise(2, 9, 6)), Stepper(model.decoder), State()
    with torch.inference_mode():
        pieces = [stepper.run(piece, state) for piece in encoded.split([5, 12, 1], dim=1)]
        torch.testing.assert_close(torch.cat(pieces, 1), stepper.run(encoded), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_smaller_weights_say_nearly_the_same(precision: str) -> None:
    model, units = acoustic(hidden=64, channels=32, width=32, mels=32), noise(1, 8, 6)
    exact = model.generate(units)
    near = model.prepare(precision).generate(units)  # type: ignore[arg-type]
    error = float((near - exact).abs().mean() / exact.std())
    assert 0 < error < 0.05
    with pytest.raises(ValueError, match="precision 'int3'"):
        model.prepare("int3")  # type: ignore[arg-type]


def test_speakers_are_heard() -> None:
    model, units = acoustic(num_speakers=2), noise(1, 5, 6)
    first, second = (model.generate(units, speaker=torch.tensor([row])) for row in (0, 1))
    assert not torch.allclose(first, second, atol=1e-3)
    with pytest.raises(ValueError, match="pass speaker"):
        model.generate(units)


def test_mel_distance_counts_an_utterances_own_frames() -> None:
    mels, target, frames = noise(2, 6, 3), torch.zeros(2, 6, 3), torch.tensor([6, 2])
    expected = (mels[0].abs().mean() + mels[1, :2].abs().mean()) / 2
    torch.testing.assert_close(mel_distance(mels, target, frames), expected)
    published = (mels[0].abs().mean() + mels[1].abs().sum() / 6) / 2
    torch.testing.assert_close(mel_distance(mels, target, frames, mask_padding=False), published)


def test_alpha_weighs_what_was_hidden() -> None:
    logits, units = noise(2, 4, 5), torch.randint(0, 5, (2, 4))
    hidden = torch.tensor([[True, False, True, False], [False, False, True, True]])
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), units, reduction="none")
    expected = 0.3 * losses[hidden].mean() + 0.7 * losses[~hidden].mean()
    torch.testing.assert_close(unit_loss(logits, units, hidden, 0.3), expected)
    torch.testing.assert_close(unit_loss(logits, units), losses.mean())


def test_two_mel_frames_lie_under_each_unit() -> None:
    for samples in (SHORTEST, 640, 3333):
        assert wave_to_mel(0.1 * noise(1, samples)).shape == (1, 128, samples // 160)
    silence = wave_to_mel(torch.zeros(1, 1600))
    assert float(silence.min()) == float(silence.max()) == pytest.approx(SILENCE)


def test_the_log_mel_of_silence_has_a_gradient() -> None:
    wave = torch.zeros(1, 1600).requires_grad_()
    wave_to_mel(wave).sum().backward()
    assert wave.grad is not None and bool(torch.isfinite(wave.grad).all())


def test_the_vocoder_makes_a_hop_of_each_frame() -> None:
    assert Vocoder(**VOCODER)(noise(2, 128, 5)).shape == (2, 1, 800)
    with pytest.raises(ValueError, match="multiply to 320"):
        Vocoder(**VOCODER, upsample_rates=(10, 4, 4, 2), upsample_kernels=(20, 8, 8, 4))


def test_training_hears_every_loudness_and_polarity() -> None:
    audio = torch.sin(torch.arange(1600) / 7.0).expand(64, 1, -1) * 0.5
    torch.manual_seed(0)
    heard = at_random_loudness(audio)
    peaks, signs = heard.abs().amax((1, 2)), (heard * audio).sum((1, 2)).sign()
    assert 0.4 <= float(peaks.min()) < 0.5 and 0.9 < float(peaks.max()) <= 0.99
    assert 16 < int((signs > 0).sum()) < 48
    assert not at_random_loudness(torch.zeros(1, 1, 99)).any()


def test_fine_tuning_compares_with_the_recording_and_leaves_it_as_it_is() -> None:
    training = VocoderTraining(Vocoder(**VOCODER), Discriminators(0.0625, (2,), 0), LossWeights(), 0, Schedule(), 0)
    assert training.mel is MEL
    batch = {"audio": 0.1 * noise(2, 1, 1600), "mel": noise(2, 128, 10)}
    assert training.prepare(batch) is batch
    made = training.prepare({"audio": batch["audio"]})
    torch.testing.assert_close(made["mel"], wave_to_mel(made["audio"][:, 0]))


def test_teacher_forcing_hears_the_true_frame_before() -> None:
    training = AcousticTraining(acoustic(), Schedule(), 0)
    content, mel, lengths = noise(2, 4, 6), noise(2, 8, 8), torch.tensor([4, 2])
    batch = {"content": content, "mel": mel, "lengths": lengths}
    said = training.model(content, torch.cat([torch.zeros(2, 1, 8), mel[:, :-1]], 1), lengths)
    expected = ((said[0] - mel[0]).abs().mean() + (said[1, :4] - mel[1, :4]).abs().mean()) / 2
    torch.testing.assert_close(training.judge(batch)["valid/loss_mel"], expected)


def test_weights_of_every_spelling_load_alike() -> None:
    model = Vocoder(initial_channels=32, resblock_kernels=[3, 7], resblock_dilations=[[1, 3, 5], [1, 3, 5]])
    state = model.state_dict()
    older = {
        key.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): value
        for key, value in state.items()
    }
    assert any(key.endswith("weight_g") for key in older)
    parallel = {"generator": {"model": {f"module.{key}": value for key, value in older.items()}, "optimizer": {}}}
    for checkpoint in (state, older, parallel):
        loaded = public.load("softvc/hifigan", checkpoint).state_dict()
        assert loaded.keys() == state.keys()
        assert all(torch.equal(loaded[key], state[key]) for key in state)


def test_weights_that_do_not_fit_are_refused() -> None:
    state = {**acoustic().state_dict(), "encoder.extra": torch.zeros(1)}
    with pytest.raises(RuntimeError, match=r"encoder\.extra"):
        public.load("softvc/acoustic-soft", state)
