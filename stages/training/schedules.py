"""Schedules of learning rates as ``params.yaml`` has them."""

from __future__ import annotations

from models.training import Schedule
from stages.params.training import Optimiser


def schedule(optimiser: Optimiser) -> Schedule:
    """Return the optimiser section as a schedule of learning rates."""
    betas = (optimiser.betas[0], optimiser.betas[1])
    return Schedule(
        optimiser.learning_rate, betas, optimiser.weight_decay, optimiser.lr_decay, optimiser.lr_decay_steps
    )
