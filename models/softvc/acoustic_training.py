"""Training of the acoustic model (van Niekerk et al. 2022, sections 2.2 and 3.1) as a Lightning module.

B: batch, N: units of 20 ms, M: mel frames of 10 ms.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from models.softvc.acoustic import AcousticModel
from models.training import Batch, Schedule, TrainingModule


def mel_distance(mels: Tensor, target: Tensor, frames: Tensor, mask_padding: bool = True) -> Tensor:
    """Return the mean absolute difference of log-mels ``(B, M, mels)``: over an utterance's own frames, then over all.

    Without ``mask_padding``, as published, what lies behind an utterance's end counts too, while its number of
    ``frames`` ``(B,)`` remains the divisor.
    """
    difference = (mels - target).abs().sum(2)
    if mask_padding:
        difference = difference * (torch.arange(mels.shape[1], device=mels.device) < frames[:, None])
    return (difference.sum(1) / (mels.shape[2] * frames)).mean()


def shifted(mels: Tensor) -> Tensor:
    """Return the frame before each, zeros before the first: ``(B, M, mels)``."""
    return F.pad(mels, (0, 0, 1, -1))


class AcousticTraining(TrainingModule):
    """Training by teacher forcing: every frame is predicted from the true one before it (section 2.2)."""

    monitored = "valid/loss_mel"

    def __init__(self, model: AcousticModel, schedule: Schedule, seed: int) -> None:
        super().__init__(schedule, seed)
        self.model = model

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Return one AdamW for the whole model."""
        return [self.schedule.optimiser(self.model.parameters())]

    def training_step(self, batch: Batch, index: int) -> None:
        """Take one true step.

        Batches hold ``content`` ``(B, N, D)`` or ``(B, N)``, ``mel`` ``(B, M, mels)``, ``lengths`` ``(B,)`` in units
        and, of a model with voices, ``speaker`` ``(B,)``.
        """
        (optimiser,) = self.begin()
        loss = self._loss(batch)
        optimiser.zero_grad()
        self.manual_backward(loss)
        optimiser.step()
        self.metrics = {"train/loss_mel": loss.detach()}
        self.step += 1

    def judge(self, batch: Batch) -> dict[str, Tensor]:
        """Return the teacher-forced distance, and that of log-mels that the model predicts from its own frames."""
        lengths = batch["lengths"]
        mels = self.model.generate(batch["content"], lengths, batch.get("speaker"))
        free = mel_distance(mels, batch["mel"], lengths * self.model.frames_per_unit)
        return {"valid/loss_mel": self._loss(batch), "valid/l1_free_running": free}

    def _loss(self, batch: Batch) -> Tensor:
        target, lengths = batch["mel"], batch["lengths"]
        mels = self.model(batch["content"], shifted(target), lengths, batch.get("speaker"))
        return mel_distance(mels.float(), target, lengths * self.model.frames_per_unit, self.model.mask_padding)
