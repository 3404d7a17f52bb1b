"""Training as a Lightning module, whatever the network: steps, learning rates and random numbers.

Modules optimise by hand and count true training steps in ``step``; everything that varies with time, learning rate and
random numbers alike, is a function of ``step`` and the seed, so that a resumed run equals an unbroken one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from models import distributed

Batch = Mapping[str, Tensor]


@dataclass(frozen=True)
class Schedule:
    """Schedule of AdamW's learning rate: ``learning_rate * decay ** (step // decay_steps)``."""

    learning_rate: float = 2e-4
    betas: tuple[float, float] = (0.8, 0.99)
    weight_decay: float = 0.01
    decay: float = 0.999
    decay_steps: int = 700

    def optimiser(self, parameters: Iterable[nn.Parameter]) -> torch.optim.AdamW:
        """Return AdamW over the parameters that are not frozen."""
        trained = [p for p in parameters if p.requires_grad]
        return torch.optim.AdamW(trained, self.learning_rate, self.betas, weight_decay=self.weight_decay, fused=True)

    def rate(self, step: int) -> float:
        """Return the learning rate at a step."""
        return self.learning_rate * self.decay ** (step // self.decay_steps)


class TrainingModule(L.LightningModule):
    """A training with a step counter, seeds and learning rates by step, and metrics as a plain dictionary."""

    monitored: str
    """Name of the validation series by which the model is judged."""
    parallel = False
    """Whether several processes can train it, each with its share of a batch: every step goes by `descend`."""

    def __init__(self, schedule: Schedule, seed: int) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.schedule = schedule
        self.seed = seed
        self.step = 0
        self.metrics: dict[str, Tensor] = {}
        self.validation: list[dict[str, Tensor]] = []

    def begin(self) -> list[Any]:
        """Return optimisers with this step's learning rate; random numbers start where this step's begin."""
        torch.manual_seed(self.seed * 1_000_003 + self.step)
        optimisers = self.optimizers()
        optimisers = optimisers if isinstance(optimisers, list) else [optimisers]
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = self.schedule.rate(self.step)
        return optimisers

    def descend(self, optimiser: Any, loss: Tensor) -> None:
        """Take one step down the gradient of a loss, which is a mean over this process's share of the batch."""
        optimiser.zero_grad()
        self.manual_backward(loss)
        distributed.average_gradients(p for group in optimiser.param_groups for p in group["params"])
        optimiser.step()

    def validation_step(self, batch: Batch, index: int) -> None:
        """Collect the batch's metrics; the keeper of the run takes their means."""
        self.validation.append(self.judge(batch))

    def judge(self, batch: Batch) -> dict[str, Tensor]:
        """Return validation metrics of one batch, under the names of their series."""
        raise NotImplementedError
