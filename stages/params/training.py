"""The parts of every section that trains a network: its optimiser and its loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stages.params.schema import positive


@dataclass(frozen=True)
class Optimiser:
    """AdamW, its rate multiplied by ``lr_decay`` every ``lr_decay_steps``."""

    learning_rate: float
    betas: list[float]
    weight_decay: float
    lr_decay: float
    lr_decay_steps: int

    def __post_init__(self) -> None:
        positive(self, "learning_rate", "lr_decay", "lr_decay_steps")


@dataclass(frozen=True)
class Loop:
    """A training loop: steps, batch, segment in samples, and how often it logs, validates and checkpoints (steps).

    ``batch_size`` is that of all ``processes`` together, which share each batch; ``workers`` load for one of them.
    """

    steps: int
    batch_size: int
    segment_samples: int
    log_every: int
    validate_every: int
    checkpoint_every: int
    workers: int
    precision: Literal["32-true", "bf16-mixed"]
    processes: int = 1

    def __post_init__(self) -> None:
        positive(self, "steps", "batch_size", "segment_samples", "log_every", "validate_every", "checkpoint_every")
        positive(self, "processes")
        if self.batch_size % self.processes:
            raise ValueError(f"batch_size {self.batch_size} does not divide among {self.processes} processes")
