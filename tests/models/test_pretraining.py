"""Masked prediction: what is hidden stays hidden, the published share of it, and that something is learned."""

from __future__ import annotations

import math

import pytest
import torch

from models.encoders import build_encoder
from models.encoders.hubert import Hubert
from models.encoders.prediction import MaskedPrediction
from models.encoders.training import HubertTraining, LinearSchedule, Masking

SIZES = {"layers": 2, "heads": 2, "dim": 16, "feed_forward": 32, "position_kernel": 8, "position_groups": 2}
FRONT_ENDS = [
    {"front_end": "group_norm", "conv_channels": 8},
    {"front_end": "layer_norm", "conv_channels": 8, "normalise_wave": True},
    {"front_end": "log_mel", "conv_channels": 20},
]


def tiny(**options: object) -> Hubert:
    encoder = build_encoder({"kind": "hubert", "layer": 2, "options": SIZES | options})
    assert isinstance(encoder, Hubert)
    return encoder


def waves(batch: int = 2, frames: int = 20) -> torch.Tensor:
    return 0.1 * torch.randn(batch, frames * 320, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("options", FRONT_ENDS, ids=lambda o: o["front_end"])
def test_with_nothing_hidden_training_sees_what_extraction_gives(options: dict[str, object]) -> None:
    encoder, nothing = tiny(**options), torch.zeros(2, 20, dtype=torch.bool)
    heard = encoder.predict(waves(), nothing, torch.zeros(16))
    torch.testing.assert_close(heard, encoder(waves()), atol=1e-5, rtol=1e-4)


def test_log_mel_batches_change_no_frame() -> None:
    encoder, lengths = tiny(**FRONT_ENDS[2]), [6400, 3500, 320]
    padded = waves(3)
    together = encoder.prepare()(padded, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        alone = encoder(padded[row : row + 1, :length])[0]
        torch.testing.assert_close(together[row, : length // 320], alone, atol=1e-5, rtol=1e-4)


def test_hidden_frames_are_not_heard() -> None:
    model = MaskedPrediction(tiny(**FRONT_ENDS[2]), k=5, label_dim=8)
    masked = torch.zeros(2, 20, dtype=torch.bool)
    masked[:, 5:15] = True
    first = waves()
    other = first.clone()
    other[:, 6 * 320 : 14 * 320] = 0.5  # a frame sees 40 samples beyond its own
    torch.testing.assert_close(model(first, masked), model(other, masked))
    assert not torch.allclose(model(first, ~masked), model(other, ~masked))


def test_logits_are_cosines_over_the_temperature() -> None:
    model = MaskedPrediction(tiny(**FRONT_ENDS[2]), k=5, label_dim=8, temperature=0.1)
    masked = torch.zeros(2, 20, dtype=torch.bool)
    hidden = model.projection(model.encoder.predict(waves(), masked, model.replacement))
    expected = torch.nn.functional.cosine_similarity(hidden[:, :, None], model.labels, dim=-1) / 0.1
    torch.testing.assert_close(model(waves(), masked), expected)


def test_spans_hide_the_published_share() -> None:
    masked = Masking(0.08, 10).draw(200, 500, torch.Generator().manual_seed(0))
    assert float(masked[:, 50:].float().mean()) == pytest.approx(1 - 0.92**10, abs=0.01)
    changes = torch.nn.functional.pad(masked.int(), (1, 1)).diff(dim=1)
    for row in changes:
        begins, ends = torch.nonzero(row == 1), torch.nonzero(row == -1)
        inner = ends[:-1] - begins[:-1]  # the last may be cut by the end
        assert bool((inner >= 10).all())


def test_every_row_hides_something_even_if_short() -> None:
    assert bool(Masking(0.0, 10).draw(50, 4).any(1).all())
    assert Masking(0.0, 10).draw(50, 30).sum(1).tolist() == [10] * 50


def test_the_rate_rises_and_falls_in_a_line() -> None:
    schedule = LinearSchedule(0.5, steps=100, warmup=0.1)
    rates = [schedule.rate(step) for step in range(100)]
    assert rates[4] == pytest.approx(0.25)
    assert max(rates) == pytest.approx(0.5)
    assert rates.index(max(rates)) in (9, 10)
    assert rates[55] == pytest.approx(0.25)
    assert 0 < rates[-1] < 0.01


def test_accuracy_is_measured_apart_and_chance_is_the_logarithm() -> None:
    torch.manual_seed(0)
    model = MaskedPrediction(tiny(**FRONT_ENDS[2]), k=50, label_dim=64, temperature=100.0)
    module = HubertTraining(model, Masking(), 1.0, LinearSchedule(steps=1), seed=0)
    units = torch.randint(50, (2, 20))
    batch = {"audio": waves()[:, None], "units": units}
    with torch.no_grad():
        judged = module.judge(batch)
    with torch.no_grad():
        assert judged == module.judge(batch)
    assert float(judged["valid/loss_masked"]) == pytest.approx(math.log(50), abs=0.01)
    masked = Masking().draw(2, 20, torch.Generator().manual_seed(0))
    right = model(waves(), masked).argmax(-1) == units
    assert float(judged["valid/accuracy_masked"]) == pytest.approx(float(right[masked].float().mean()))
    assert float(judged["valid/accuracy_unmasked"]) == pytest.approx(float(right[~masked].float().mean()))
