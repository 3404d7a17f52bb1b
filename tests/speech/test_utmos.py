"""UTMOS against the code that publishes its weights; ``tests/golden/utmos.json`` says how it was made."""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from models.judges import utmos
from respeak.judges.quality_judges import quality_judges
from speech.errors import UserError
from tests.golden.fill import fill
from tests.speech.test_speaker_networks import EVALUATE, wave

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden/utmos.json").read_text(encoding="utf-8"))
SMALL = {"layers": 2, "heads": 4, "dim": 48, "feed_forward": 96, "channels": 32, "hidden": 32}


def test_the_public_file_fits_name_by_name() -> None:
    model = utmos.Utmos()
    public = {key: torch.zeros(()).expand(shape) for key, shape in GOLDEN["public"].items()}
    model.load_public(public)
    del public["wav2vec2.encoder.pos_conv.0.weight_g"]
    with pytest.raises(RuntimeError, match=r"Missing key.*pos_conv_embed\.conv\.parametrizations\.weight\.original0"):
        model.load_public(public)


def test_opinions_are_the_published_codes(tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(utmos, "Utmos", functools.partial(utmos.Utmos, **SMALL))
    state = {key: fill(key, shape, "float32", 0, 1.0) for key, shape in GOLDEN["small"].items()}
    torch.save(state, tmp_path / "mine.pt")
    evaluate = replace(EVALUATE, quality=["utmos"], weights={"utmos": str(tmp_path / "mine.pt")})
    (judge,) = quality_judges(evaluate)
    for clip, expected in GOLDEN["score"].items():
        heard = wave(shared, clip)
        assert judge(SimpleNamespace(wave=heard)) == {"utmos": pytest.approx(expected, abs=1e-5)}
    assert np.isfinite(judge(SimpleNamespace(wave=heard[:10]))["utmos"])


def test_absent_and_wrong_weights_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESPEAK_CACHE", str(tmp_path))
    monkeypatch.setattr(utmos, "Utmos", functools.partial(utmos.Utmos, **SMALL))
    evaluate = replace(EVALUATE, quality=["utmos"])
    name = r"utmos22_strong_step7459_v1\.pt"
    with pytest.raises(
        UserError, match=rf"evaluate\.weights\.utmos: {tmp_path}/{name}: not found; get https://.*{name}"
    ):
        quality_judges(evaluate)
    torch.save({"judge_emb": torch.zeros(1, 128)}, tmp_path / "utmos22_strong_step7459_v1.pt")
    with pytest.raises(UserError, match=rf"{name}: not the weights"):
        quality_judges(evaluate)[0](SimpleNamespace(wave=np.zeros(800, np.float32)))
