"""Pretraining of HuBERT (Hsu et al. 2021, sections II-B and IV-B): clusters of hidden frames are predicted.

B: batch, N: frames of 20 ms, D: width of the transformer, K: clusters.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.encoders.prediction import MaskedPrediction
from models.training import Batch, Schedule, TrainingModule


@dataclass(frozen=True)
class LinearSchedule(Schedule):
    """Schedule of AdamW whose rate rises in a line for the share ``warmup`` of all ``steps``, and then falls to 0."""

    steps: int = 1
    warmup: float = 0.08

    def rate(self, step: int) -> float:
        """Return the learning rate at a step."""
        rising = max(self.warmup * self.steps, 1.0)
        falling = max(self.steps - rising, 1.0)
        return self.learning_rate * min((step + 1) / rising, max(self.steps - step, 0) / falling, 1.0)


@dataclass(frozen=True)
class Masking:
    """Masks of spans of ``span`` frames, which begin at the share ``starts`` of all frames and may overlap."""

    starts: float = 0.08
    span: int = 10

    def draw(self, batch: int, frames: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw the frames that are hidden: ``(B, N)`` bool, at least one span in each row; drawn on the processor."""
        begins = torch.rand(batch, frames, generator=generator) < self.starts
        last = max(frames - self.span, 0)
        begins[torch.arange(batch), torch.randint(last + 1, (batch,), generator=generator)] = True
        hidden = F.max_pool1d(F.pad(begins.float()[:, None], (self.span - 1, 0)), self.span, 1)
        return hidden[:, 0] > 0


class HubertTraining(TrainingModule):
    """Training by cross-entropy on hidden frames, and ``unmasked_weight`` times that on the others.

    The paper trains the hidden ones alone (and finds that best, where there is much to train on).
    """

    monitored = "valid/loss_masked"
    clip = 10.0  # norm of the gradient, as published

    def __init__(
        self, model: MaskedPrediction, masking: Masking, unmasked_weight: float, schedule: Schedule, seed: int
    ) -> None:
        super().__init__(schedule, seed)
        self.model = model
        self.masking = masking
        self.unmasked_weight = unmasked_weight

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Return one AdamW for encoder and head."""
        return [self.schedule.optimiser(self.model.parameters())]

    def training_step(self, batch: Batch, index: int) -> None:
        """Take one true step on ``audio`` ``(B, 1, T)`` and ``units`` ``(B, N)``, the clusters."""
        (optimiser,) = self.begin()
        rows, frames = batch["units"].shape
        measured = self._measure(batch, self.masking.draw(rows, frames))
        loss = measured["loss_masked"] + self.unmasked_weight * measured["loss_unmasked"]
        optimiser.zero_grad()
        self.manual_backward(loss)
        nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        optimiser.step()
        self.metrics = {f"train/{name}": value.detach() for name, value in measured.items()}
        self.step += 1

    def judge(self, batch: Batch) -> dict[str, Tensor]:
        """Return losses and accuracies under masks that are the same each time."""
        rows, frames = batch["units"].shape
        masked = self.masking.draw(rows, frames, torch.Generator().manual_seed(self.seed))
        return {f"valid/{name}": value for name, value in self._measure(batch, masked).items()}

    def _measure(self, batch: Batch, masked: Tensor) -> dict[str, Tensor]:
        units = batch["units"]
        masked = masked.to(units.device)
        logits = self.model(batch["audio"][:, 0], masked)
        losses = F.cross_entropy(logits.float().transpose(1, 2), units, reduction="none")
        right = (logits.argmax(-1) == units).float()
        measured = {}
        for name, part in (("masked", masked), ("unmasked", ~masked)):
            # Sums over a mask, not indexing: a segment that is hidden as a whole has no other frame.
            count = part.sum().clamp_min(1)
            measured[f"loss_{name}"] = (losses * part).sum() / count
            measured[f"accuracy_{name}"] = (right * part).sum() / count
        return measured
