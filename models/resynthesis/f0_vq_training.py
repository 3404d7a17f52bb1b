"""Training of the F0 quantiser (Polyak et al. 2021, sections 2.1 and 3.1) as a Lightning module.

B: batch, T: values of F0 at 200 Hz.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from models.resynthesis.f0_vq import F0VQVAE
from models.training import Batch, Schedule, TrainingModule


class F0VQTraining(TrainingModule):
    """Training by the mean squared error of the reconstruction plus ``commit_weight`` times the commitment loss."""

    monitored = "valid/loss_f0"
    parallel = True

    def __init__(self, model: F0VQVAE, commit_weight: float, schedule: Schedule, seed: int) -> None:
        super().__init__(schedule, seed)
        self.model = model
        self.commit_weight = commit_weight

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Return one AdamW for the whole model."""
        return [self.schedule.optimiser(self.model.parameters())]

    def training_step(self, batch: Batch, index: int) -> None:
        """Take one true step on ``f0`` ``(B, 1, T)``, normalised and exactly 0 where unvoiced."""
        (optimiser,) = self.begin()
        f0_hat, quantised = self.model(batch["f0"])
        loss = mse_loss(f0_hat, batch["f0"])
        self.descend(optimiser, loss + self.commit_weight * quantised.commit_loss)
        self.metrics = {
            "train/loss_f0": loss.detach(),
            "train/loss_commit": quantised.commit_loss.detach(),
            "train/code_entropy": quantised.entropy.detach(),
        }
        self.step += 1

    def judge(self, batch: Batch) -> dict[str, Tensor]:
        """Return the reconstruction error, and its absolute value on voiced frames alone (standard deviations)."""
        f0_hat, _ = self.model(batch["f0"])
        voiced = batch["f0"] != 0
        voiced_error = ((f0_hat - batch["f0"]).abs() * voiced).sum() / voiced.sum().clamp(min=1)
        return {"valid/loss_f0": mse_loss(f0_hat, batch["f0"]), "valid/l1_voiced": voiced_error}
