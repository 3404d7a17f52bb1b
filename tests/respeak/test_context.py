from __future__ import annotations

import pytest
import torch

from respeak.systems.resynthesis.receptive_field import Context
from tests.respeak.tiny import MODEL, WITH_SOURCE, random_generator

LENGTH = 160
MIDDLE = 80


@pytest.fixture(scope="module")
def context() -> Context:
    return Context.of(random_generator(MODEL), 4)


def test_published_sizes() -> None:
    """Resblocks reach 60 samples at each rate; the F0 encoder's dilations reach 40 frames at each of four rates."""
    model = {
        "num_units": 2,
        "num_speakers": 1,
        "embedding_dim": 2,
        "initial_channels": 32,
        "f0_quantizer": {"width": 2},
    }
    context = Context.of(random_generator(model), 4)
    samples = 60 * (64 + 16 + 4 + 2 + 1) + 3 * 320
    assert samples / 320 < context.vocoder < samples / 320 + 7
    assert 40 * (2 + 4 + 8 + 16) / 4 < context.f0 < 40 * (2 + 4 + 8 + 16) / 4 + 20
    assert context.grid == 4


def changed_units(model: torch.nn.Module, units: torch.Tensor, f0: torch.Tensor, *altered: torch.Tensor) -> list[int]:
    speaker = torch.tensor([0])
    with torch.inference_mode():
        difference = (model(units, f0, speaker) != model(*altered, speaker))[0, 0].reshape(LENGTH, 320).any(dim=1)
    return torch.nonzero(difference).flatten().tolist()


def test_a_unit_is_heard_no_further_than_stated(context: Context) -> None:
    model = random_generator(MODEL).eval()
    units, f0 = torch.zeros(1, LENGTH, dtype=torch.int64), torch.randn(1, 1, LENGTH * 4)
    altered = units.clone()
    altered[0, MIDDLE] = 1
    changed = changed_units(model, units, f0, altered, f0)
    assert context.vocoder - 3 <= MIDDLE - changed[0] <= context.vocoder
    assert context.vocoder - 3 <= changed[-1] - MIDDLE <= context.vocoder


def test_with_a_source_a_unit_is_heard_no_further_than_stated() -> None:
    model = random_generator(WITH_SOURCE).eval()
    context = Context.of(model, 4)
    units, f0 = torch.zeros(1, LENGTH, dtype=torch.int64), torch.randn(1, 1, LENGTH * 4)
    altered = units.clone()
    altered[0, MIDDLE] = 1
    changed = changed_units(model, units, f0, altered, f0)
    assert MIDDLE - context.vocoder <= changed[0] < MIDDLE - 5
    assert MIDDLE + 5 < changed[-1] <= MIDDLE + context.vocoder


def test_f0_of_the_source_comes_from_no_further_than_stated() -> None:
    model = random_generator(WITH_SOURCE).eval()
    context = Context.of(model, 4)
    f0 = torch.zeros(1, 1, 4 * 800)
    altered = f0.clone()
    altered[..., 4 * 400] = 50.0
    with torch.inference_mode():
        contours = [model.contour(track, torch.tensor([0]))[0, 0].reshape(800, 4) for track in (f0, altered)]
    changed = torch.nonzero((contours[0] != contours[1]).any(dim=1)).flatten()
    assert len(changed)
    assert changed[0] >= 400 - context.f0 - context.grid
    assert changed[-1] <= 400 + context.f0 + context.grid


def test_a_frame_of_f0_is_heard_no_further_than_stated(context: Context) -> None:
    model = random_generator(MODEL).eval()
    units, f0 = torch.zeros(1, LENGTH, dtype=torch.int64), torch.zeros(1, 1, LENGTH * 4)
    altered = f0.clone()
    altered[..., MIDDLE * 4] = 50.0
    changed = changed_units(model, units, f0, units, altered)
    reach = context.vocoder + context.f0 + context.grid
    assert changed[0] >= MIDDLE - reach
    assert changed[-1] <= MIDDLE + reach


def test_pieces_stay_inside_the_recording_and_on_the_grid(context: Context) -> None:
    assert context.heard(0, 10, 12) == (0, 12)
    low, high = context.quantised(101, 102, 1000)
    assert low % context.grid == 0
    assert high % context.grid == 0
    assert low <= 101 - context.f0
    assert high >= 102 + context.f0
    assert context.quantised(0, 999, 999) == (0, 999)
