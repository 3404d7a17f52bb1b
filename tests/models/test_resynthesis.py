from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch

from models.codebook import Codebook
from models.resynthesis import F0VQVAE, UnitGenerator, WaveVQVAE
from models.resynthesis.generator import repeat_to

TINY: dict[str, Any] = {
    "initial_channels": 32,
    "resblock_kernels": [3],
    "resblock_dilations": [[1]],
    "embedding_dim": 8,
}
TINY_F0 = {"codes": 4, "embedding_dim": 8, "width": 4, "depth": 1}


def test_f0_roundtrip_shapes() -> None:
    model = F0VQVAE().eval()
    f0 = torch.randn(2, 1, 64)
    f0_hat, quantised = model(f0)
    assert f0_hat.shape == f0.shape
    assert model.encode(f0).shape == (2, 4)
    assert torch.equal(model.encode(f0), quantised.codes)
    assert model.decode(quantised.codes).shape == f0.shape


def test_published_parameter_counts() -> None:
    model = F0VQVAE()
    assert sum(p.numel() for p in model.encoder.parameters()) == 91_520
    assert sum(p.numel() for p in model.decoder.parameters()) == 108_161
    generator = UnitGenerator(100, 200, 128, {})
    weights = sum(p.numel() for p in generator.vocoder.parameters())
    assert weights == pytest.approx(14.17e6, rel=5e-3)


def test_first_batch_initialises_the_codebook_once() -> None:
    torch.manual_seed(0)
    codebook = Codebook(4, 3).train()
    x = torch.randn(1, 3, 50)
    codebook(x)
    assert codebook.initialised
    rows = x[0].t()
    before = codebook.codes.clone()
    codebook.eval()(x * 5)
    assert torch.equal(codebook.codes, before), "evaluation must not move the codes"
    assert len(rows) == 50


def test_unused_codes_restart_at_vectors_of_the_batch() -> None:
    torch.manual_seed(0)
    codebook = Codebook(3, 2).train()
    codebook.codes.copy_(torch.tensor([[0.0, 0.0], [9.0, 9.0], [-9.0, -9.0]]))
    codebook.running_sum.copy_(codebook.codes)
    codebook.initialised.fill_(True)
    batch = torch.randn(1, 2, 40) * 0.1
    codebook(batch)
    vectors = batch[0].t()
    for row in (1, 2):
        assert (vectors - codebook.codes[row]).abs().sum(1).min() < 1e-6


def test_a_small_first_batch_still_gives_distinct_codes() -> None:
    torch.manual_seed(0)
    codebook = Codebook(8, 4).train()
    codebook(torch.randn(1, 4, 3))
    assert len(torch.unique(codebook.codes, dim=0)) == 8


def test_codebook_state_survives_saving() -> None:
    torch.manual_seed(0)
    first, batches = Codebook(4, 3).train(), [torch.randn(2, 3, 20) for _ in range(6)]
    for batch in batches[:3]:
        first(batch)
    second = Codebook(4, 3).train()
    second.load_state_dict(first.state_dict())
    for codebook in (first, second):
        torch.manual_seed(1)
        for batch in batches[3:]:
            codebook(batch)
    assert torch.equal(first.codes, second.codes)


def test_alignment_repeats_each_frame_in_place() -> None:
    stream = torch.tensor([[[1.0, 2.0]]])
    assert repeat_to(stream, 6).tolist() == [[[1, 1, 1, 2, 2, 2]]]
    with pytest.raises(ValueError, match="1280"):
        repeat_to(stream, 5)


def test_quantiser_stays_frozen_in_training() -> None:
    torch.manual_seed(0)
    model: Any = UnitGenerator(5, 2, f0_quantizer=TINY_F0, **TINY).train()
    before = {k: v.clone() for k, v in model.quantizer.state_dict().items()}
    wave = model(torch.zeros(1, 8, dtype=torch.long), torch.randn(1, 1, 32), torch.zeros(1, dtype=torch.long))
    wave.sum().backward()
    assert wave.shape == (1, 1, 8 * 320)
    assert all(torch.equal(before[k], v) for k, v in model.quantizer.state_dict().items())
    assert all(p.grad is None for p in model.quantizer.parameters())


def test_speaker_and_f0_change_the_sound_and_are_required() -> None:
    torch.manual_seed(0)
    model: Any = UnitGenerator(5, 2, f0_quantizer=TINY_F0, **TINY).eval()
    model.quantizer.codebook.codes.normal_()
    for name, parameter in model.vocoder.named_parameters():
        if name.endswith("original0"):
            parameter.data.fill_(1.0)  # an untrained generator is all but deaf to its input
    units, f0 = torch.arange(4).view(1, 4), torch.randn(1, 1, 16) * 3
    with torch.no_grad():
        waves = [model(units, f0, torch.tensor([speaker])) for speaker in (0, 1)]
        assert not torch.allclose(*waves)
    with pytest.raises(ValueError, match="pass f0"):
        model(units, None, torch.tensor([0]))
    with pytest.raises(ValueError, match="pass speaker"):
        model(units, f0)


def test_model_without_f0_and_speakers() -> None:
    model = UnitGenerator(5, 0, **TINY).eval()
    assert model(torch.zeros(2, 3, dtype=torch.long)).shape == (2, 1, 960)


TINY_WAVE: dict[str, Any] = {**TINY, "codes": 6, "width": 4, "depth": 1}


def test_wave_quantiser_says_a_code_every_hop() -> None:
    torch.manual_seed(0)
    model = WaveVQVAE(**TINY_WAVE).eval()
    model.codebook.codes.normal_()
    for samples in (160, 1600, 1759):
        wave = torch.randn(2, 1, samples)
        codes = model.encode(wave)
        assert codes.shape == (2, samples // 160)
        made, quantised = model(wave)
        assert torch.equal(quantised.codes, codes)
        torch.testing.assert_close(made, model.decode(codes))
    with pytest.raises(ValueError, match="160"):
        WaveVQVAE(**{**TINY_WAVE, "strides": (2, 2)})


def test_wave_quantiser_learns_from_the_waveform_through_its_codes() -> None:
    torch.manual_seed(0)
    model = WaveVQVAE(**TINY_WAVE).train()
    made, quantised = model(torch.randn(2, 1, 1600))
    (made.square().mean() + quantised.commit_loss).backward()
    grads = [parameter.grad for parameter in model.encoder.parameters()]
    assert all(grad is not None and grad.abs().sum() > 0 for grad in grads)


def test_a_speaker_by_vector_need_not_be_one_of_training() -> None:
    torch.manual_seed(0)
    model: Any = UnitGenerator(5, 0, f0_quantizer=TINY_F0, source="harmonic", speaker_dim=6, **TINY).eval()
    for name, parameter in model.vocoder.named_parameters():
        if name.endswith("original0"):
            parameter.data.fill_(1.0)
    units, f0 = torch.arange(4).view(1, 4), torch.randn(1, 1, 16)
    register, vectors = torch.tensor([[120.0, 20.0]]), torch.nn.functional.normalize(torch.randn(2, 1, 6), dim=2)
    with torch.no_grad():
        waves = [model(units, f0, vector, register) for vector in vectors]
        assert not torch.allclose(*waves)
        assert torch.equal(model.contour(f0, vectors[0], 2 * register), 2 * model.contour(f0, vectors[0], register))
    with pytest.raises(ValueError, match="pass register"):
        model(units, f0, vectors[0])


def test_a_generator_can_be_sent_to_another_process() -> None:
    torch.manual_seed(0)
    model = UnitGenerator(5, 2, f0_quantizer=TINY_F0, **TINY).train()
    again = pickle.loads(pickle.dumps(model))
    assert again.training and not any(p.requires_grad for p in again.quantizer.parameters())
    for (name, one), (_, other) in zip(model.state_dict().items(), again.state_dict().items(), strict=True):
        assert torch.equal(one, other), name
