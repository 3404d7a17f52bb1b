"""HuBERT with weights named as Soft-VC names them, against the original code's features and units."""

from __future__ import annotations

import os

import pytest
import torch

from models.encoders import build_encoder
from respeak.encoders import load_weights
from speech.units import assign
from tests.golden.fill import golden_dir, load_case


@pytest.mark.skipif(
    not golden_dir().is_dir() and os.environ.get("CI") != "true", reason=f"no golden vectors at {golden_dir()}"
)
def test_soft_vc_weights_and_centres_give_its_features_and_units() -> None:
    case = load_case("soft-vc/hubert_discrete")
    state = {f"module.{key}": value for key, value in case.state("hubert").items()}
    encoder = build_encoder({"kind": "hubert", "layer": 7})
    load_weights(encoder, state, "golden")
    features = encoder.prepare()(case.inputs["wav"][0])[0]
    case.check("layer7", features)
    units = torch.from_numpy(assign(features.numpy(), case.inputs["centres"].numpy()).astype("int64"))
    sure = case.outputs["margin"] > 1e-4
    assert sure.float().mean() > 0.9 and torch.equal(units[sure], case.outputs["units"][sure])
