"""Training of the digit classifier: cross-entropy, as a Lightning module."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from models.judges.resnext import DigitClassifier
from models.training import Schedule, TrainingModule
from speech.judges.digit_mel import digit_mel


class DigitTraining(TrainingModule):
    """Training by cross-entropy of the ten digits.

    Batches hold ``audio`` ``(B, 16000)`` at 16 kHz and ``digit`` ``(B,)`` int64.
    """

    monitored = "valid/loss_digits"
    parallel = True

    def __init__(self, model: DigitClassifier, schedule: Schedule, seed: int) -> None:
        super().__init__(schedule, seed)
        self.model = model

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW over the classifier."""
        return self.schedule.optimiser(self.model.parameters())

    def training_step(self, batch: Mapping[str, Tensor], index: int) -> None:
        """Take one true step on ``audio`` and ``digit``."""
        (optimiser,) = self.begin()
        logits = self.model(digit_mel(batch["audio"]))
        loss = cross_entropy(logits, batch["digit"])
        self.descend(optimiser, loss)
        self.metrics = {"train/loss_digits": loss.detach(), "train/accuracy": _accuracy(logits, batch["digit"])}
        self.step += 1

    def judge(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return loss and accuracy of one validation batch."""
        logits = self.model(digit_mel(batch["audio"]))
        loss = cross_entropy(logits, batch["digit"])
        return {"valid/loss_digits": loss, "valid/accuracy": _accuracy(logits, batch["digit"])}


def _accuracy(logits: Tensor, digits: Tensor) -> Tensor:
    return (logits.argmax(1) == digits).float().mean()
