"""Content encoders against Kaldi's features (torchaudio), and the laws of the interface."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from models.encoders import arithmetic, build_encoder
from speech.errors import UserError
from speech.units import num_frames

TINY = {
    "layers": 2,
    "dim": 32,
    "heads": 4,
    "feed_forward": 64,
    "conv_channels": 16,
    "position_kernel": 16,
    "position_groups": 4,
}
LARGE = {"front_end": "layer_norm", "conv_bias": True, "norm_first": True, "normalise_wave": True}
CONFIGS: dict[str, dict[str, Any]] = {
    "mfcc": {"kind": "mfcc"},
    "logmel": {"kind": "logmel"},
    "hubert": {"kind": "hubert", "layer": 2, "options": TINY},
    "wav2vec2": {"kind": "wav2vec2", "layer": 2, "options": {**TINY, **LARGE}},
}


def noise(*shape: int) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("samples", [320, 1280, 1599, 1600, 16_000])
def test_frame_count_is_what_comes_out(kind: str, samples: int) -> None:
    encoder = build_encoder(CONFIGS[kind])
    features = encoder(noise(2, samples))
    assert features.shape == (2, encoder.num_frames(samples), encoder.dim)
    assert encoder.num_frames(samples) == num_frames(samples) == samples // encoder.hop
    assert torch.isfinite(features).all()


@pytest.mark.parametrize("kind", CONFIGS)
def test_padded_batch_equals_one_by_one(kind: str) -> None:
    encoder = build_encoder(CONFIGS[kind])
    lengths = torch.tensor([16_000, 5130, 320, 6400, 5120, 300])
    # What lies behind the end is noise on purpose: it must not be heard.
    waves = noise(6, 16_000)
    batch = encoder(waves, lengths)
    assert torch.isfinite(batch).all()
    for wave, length, features in zip(waves, lengths, batch, strict=True):
        alone = encoder(wave[None, :length])[0]
        torch.testing.assert_close(features[: len(alone)], alone, atol=1e-4, rtol=0)


def without_our_arithmetic(encoder: Any, wave: torch.Tensor) -> list[torch.Tensor]:
    """torchaudio's own forward pass over one recording ``(T,)``, every layer ``(1, N, D)``."""
    if encoder.normalise_wave:
        wave = F.layer_norm(wave, wave.shape)
    return encoder.model.extract_features(F.pad(wave, (40, 40))[None])[0]


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("front_end", ["group_norm", "layer_norm"])
def test_padded_batches_equal_torchaudio_one_by_one_at_every_layer(front_end: str, norm_first: bool) -> None:
    options = {**TINY, "front_end": front_end, "norm_first": norm_first, "normalise_wave": norm_first}
    encoder = build_encoder({"kind": "wav2vec2", "layer": 1, "options": options})
    gain = torch.Generator().manual_seed(1)
    for name, parameter in encoder.named_parameters():  # freshly built norms are the identity, and would hide errors
        if "norm" in name:
            parameter += 0.3 * torch.randn(parameter.shape, generator=gain)
    lengths = torch.tensor([40_000, 5130, 320, 64_000])
    waves = noise(4, 64_000) * torch.tensor([1.0, 0.01, 3.0, 0.1])[:, None] + 0.05
    for _ in range(2):
        batch = encoder.extract(waves, lengths, [2, 1])
        for row, length in enumerate(lengths):
            reference = without_our_arithmetic(encoder, waves[row, :length])
            for features, layer in zip(batch, (2, 1), strict=True):
                expected = reference[layer - 1][0]
                torch.testing.assert_close(features[row, : len(expected)], expected, atol=1e-4, rtol=0)
        encoder.prepare()


def test_the_gpu_arrangement_equals_the_processors() -> None:
    for front_end in ("group_norm", "layer_norm"):
        extractor = build_encoder({**CONFIGS["hubert"], "options": {**TINY, "front_end": front_end}}).model
        extractor = extractor.feature_extractor
        waves, samples = noise(3, 8000), [8000, 5207, 399]
        with torch.no_grad():
            ours = arithmetic.WaveformEncoder(extractor)(waves, samples)
            theirs = arithmetic.channel_major(extractor, waves, samples)
        assert [len(row) for row in theirs] == [len(row) for row in ours] == [24, 16, 0]
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", CONFIGS)
def test_encoders_state_what_they_are(kind: str) -> None:
    encoder = build_encoder(CONFIGS[kind])
    assert (encoder.kind, encoder.frame_rate, encoder.hop, encoder.padding) == (kind, 50.0, 320, 40)
    assert encoder.receptive_field == {"mfcc": 400 + 8 * 320, "logmel": 400}.get(kind, 0)
    assert (encoder.layer, encoder.num_layers) == ((2, 2) if kind in ("hubert", "wav2vec2") else (0, 0))
    with pytest.raises(ValueError, match=f"layer 3 is outside . to {encoder.num_layers} of {kind}"):
        encoder.extract(noise(1, 3200), None, [3])


@pytest.mark.parametrize("kind", ["mfcc", "logmel"])
def test_receptive_field_is_as_stated(kind: str) -> None:
    encoder = build_encoder(CONFIGS[kind])
    wave = noise(1, 16_000).requires_grad_()
    frame = 25
    encoder(wave)[0, frame].square().sum().backward()
    touched = torch.nonzero(wave.grad[0]).flatten()
    assert int(touched[-1] - touched[0]) + 1 <= encoder.receptive_field
    assert int(touched[-1] - touched[0]) + 1 > encoder.receptive_field - 10
    assert abs(float(touched[-1] + touched[0]) / 2 - (320 * frame + 160)) < 5


def test_logmel_equals_kaldi_fbank() -> None:
    kaldi = pytest.importorskip("torchaudio.compliance.kaldi")
    wave = noise(1, 16_000)
    reference = kaldi.fbank(F.pad(wave, (40, 40)), num_mel_bins=80, frame_shift=20.0, dither=0.0)
    torch.testing.assert_close(build_encoder(CONFIGS["logmel"])(wave)[0], reference, atol=1e-3, rtol=0)


def test_mfcc_equals_kaldi_and_librosa_deltas() -> None:
    kaldi = pytest.importorskip("torchaudio.compliance.kaldi")
    librosa = pytest.importorskip("librosa")
    wave = noise(1, 16_000)
    reference = kaldi.mfcc(F.pad(wave, (40, 40)), frame_shift=20.0, dither=0.0).numpy()
    features = build_encoder(CONFIGS["mfcc"])(wave)[0].numpy()
    np.testing.assert_allclose(features[:, :13], reference, atol=2e-3)
    deltas = librosa.feature.delta(reference.T, width=5, mode="nearest").T
    np.testing.assert_allclose(features[:, 13:26], deltas, atol=2e-3)
    np.testing.assert_allclose(features[:, 26:], librosa.feature.delta(deltas.T, width=5, mode="nearest").T, atol=2e-3)


def test_digital_silence_is_finite_and_constant() -> None:
    for kind in ("mfcc", "logmel"):
        features = build_encoder(CONFIGS[kind])(torch.zeros(1, 3200))[0]
        assert torch.isfinite(features).all()
        assert torch.equal(features, features[:1].expand_as(features))


def test_random_hubert_is_seeded_and_leaves_the_global_generator() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, same, other = (build_encoder({**CONFIGS["hubert"], "seed": seed})(noise(1, 3200)) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(one, same)
    assert not torch.allclose(one, other)


def test_hubert_layer_is_torchaudios() -> None:
    encoder = build_encoder({**CONFIGS["hubert"], "layer": 1})
    wave = noise(1, 6400)
    layers, _ = encoder.model.extract_features(F.pad(wave, (40, 40)))
    torch.testing.assert_close(encoder(wave), layers[0])
    assert not torch.allclose(layers[0], layers[1])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"kind": "cpc"}, "'cpc' is not one of mfcc, logmel, hubert, wav2vec2"),
        ({"kind": "mfcc", "options": {"band": 40}}, "unknown key 'band'.*bands"),
        ({"kind": "hubert", "layer": 13}, "encoder.layer: 13 .* 1 to 12"),
        ({"kind": "hubert", "layer": 0}, "encoder.layer: 0"),
        ({"kind": "hubert", "layer": 1, "options": {**TINY, "heads": 5}}, "not a multiple of heads"),
        ({"kind": "mfcc", "options": {"high_hz": 9000.0}}, "encoder.options.high_hz"),
        ({"kind": "mfcc", "options": {"coefficients": 40}}, "encoder.options.coefficients"),
        ({"kind": "mfcc", "options": {"bands": "many"}}, "encoder.options"),
    ],
)
def test_impossible_configurations_name_the_key(config: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_encoder(config)
