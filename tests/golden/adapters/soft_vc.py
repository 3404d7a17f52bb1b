"""Our Soft-VC networks against outputs of the original public code, from the same weights."""

from __future__ import annotations

from collections.abc import Callable

import torch

from models.encoders import build_encoder
from respeak.encoders import load_weights
from speech.units import assign
from tests.golden.fill import Case


def hubert_discrete(case: Case) -> None:
    state = {f"module.{key}": value for key, value in case.state("hubert").items()}
    encoder = build_encoder({"kind": "hubert", "layer": 7})
    load_weights(encoder, state, "golden")
    features = encoder.prepare()(case.inputs["wav"][0])[0]
    case.check("layer7", features)
    units = torch.from_numpy(assign(features.numpy(), case.inputs["centres"].numpy()).astype("int64"))
    sure = case.outputs["margin"] > 1e-4
    assert sure.float().mean() > 0.9 and torch.equal(units[sure], case.outputs["units"][sure])


ADAPTERS: dict[str, Callable[[Case], None]] = {
    "hubert_discrete": hubert_discrete,
}
