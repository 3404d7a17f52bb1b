"""Weights of a vocoder's losses, as ``params.yaml`` has them, for adversarial training."""

from __future__ import annotations

import dataclasses

from models.hifigan.training import LossWeights
from stages.params.hifigan import GeneratorLoss


def loss_weights(loss: GeneratorLoss) -> LossWeights:
    """Return the section of losses as weights; those that a system adds are its ``extra``."""
    values = dataclasses.asdict(loss)
    shared = {field.name for field in dataclasses.fields(LossWeights)}
    return LossWeights(
        **{name: value for name, value in values.items() if name in shared},
        extra={name: value for name, value in values.items() if name not in shared},
    )
