from __future__ import annotations

import pytest
import torch

from models import public
from models.resynthesis import UnitGenerator
from models.resynthesis.durations import DurationPredictor, runs_of, whole_runs
from tests.models.test_resynthesis import TINY, TINY_F0

UNITS = torch.tensor([[5, 5, 5, 2, 2, 7], [1, 1, 1, 1, 1, 1], [3, 4, 4, 4, 4, 4]])


def test_runs_say_each_unit_once_and_how_long() -> None:
    runs = runs_of(UNITS)
    assert runs.units.tolist() == [[5, 2, 7], [1, 0, 0], [3, 4, 0]]
    assert runs.lengths.tolist() == [[3, 2, 1], [6, 0, 0], [1, 5, 0]]
    for row, units, lengths in zip(UNITS, *runs, strict=True):
        assert torch.equal(units.repeat_interleave(lengths), row)


def test_runs_that_the_cut_may_have_shortened_do_not_count() -> None:
    assert whole_runs(runs_of(UNITS)).tolist() == [[0, 2, 0], [6, 0, 0], [1, 5, 0]]


def test_a_predictor_learns_how_long_units_last() -> None:
    torch.manual_seed(0)
    lasts = torch.tensor([2, 7, 1, 4])
    embedding, predictor = torch.nn.Embedding(4, 16), DurationPredictor(16, 32, dropout=0.0)
    optimiser = torch.optim.AdamW([*embedding.parameters(), *predictor.parameters()], 1e-2)
    units = torch.stack([torch.randperm(4) for _ in range(8)])
    for _ in range(150):
        loss = predictor.loss(embedding(units), lasts[units])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert torch.equal(predictor.eval().frames(embedding(units)), lasts[units])
    assert predictor.loss(embedding(units), torch.zeros_like(units)) == 0


def test_padding_beyond_the_runs_is_not_learnt_from() -> None:
    torch.manual_seed(0)
    predictor = DurationPredictor(8, 8).eval()
    embedded, lengths = torch.randn(1, 5, 8), torch.tensor([[3, 1, 4, 0, 0]])
    expected = torch.nn.functional.mse_loss(predictor(embedded)[:, :3], torch.log(lengths[:, :3] + 1.0))
    torch.testing.assert_close(predictor.loss(embedded, lengths), expected)


def test_a_generator_repeats_units_and_public_names_load() -> None:
    torch.manual_seed(0)
    model = UnitGenerator(8, 0, f0_quantizer=None, durations=True, embedding_dim=8).eval()
    units = torch.tensor([3, 1, 5])
    repeated = model.repeat(units)
    assert torch.unique_consecutive(repeated).tolist() == [3, 1, 5]
    state = {
        name.replace("unit_embedding.", "dict.").replace("durations.", "dur_predictor.").removeprefix("vocoder."): value
        for name, value in model.state_dict().items()
    }
    loaded = public.load("resynthesis/code_generator", {"generator": state})
    assert torch.equal(loaded.eval().repeat(units), repeated)
    with pytest.raises(ValueError, match="trained without durations"):
        UnitGenerator(8, 0, f0_quantizer=TINY_F0, **TINY).repeat(units)
