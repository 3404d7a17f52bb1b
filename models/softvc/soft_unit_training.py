"""Training of soft units (van Niekerk et al. 2022, sections 2.1 and 3.1) as a Lightning module.

B: batch, T: samples at 16 kHz, N: units of 20 ms, K: discrete units.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.encoders.soft import SoftHubert
from models.encoders.training import Masking
from models.training import Batch, Schedule, TrainingModule

CLIP = 10.0  # norm of the gradient, as published
FEED_FORWARD_DROPOUT = 0.1  # the published fine-tuning has it, pretraining has none


class SoftUnitTraining(TrainingModule):
    """Training by cross-entropy of discrete units, predicted by a HuBERT from the waveform (section 2.1).

    Without ``masking`` over all frames. With it, ``alpha`` of that on hidden frames and ``1 - alpha`` on the others;
    validation then hides nothing, as soft units do.
    """

    monitored = "valid/loss"

    def __init__(self, model: SoftHubert, masking: Masking | None, alpha: float, schedule: Schedule, seed: int) -> None:
        super().__init__(schedule, seed)
        self.model, self.masking, self.alpha = model, masking, alpha
        for layer in model.network.encoder.model.encoder.transformer.layers:
            layer.feed_forward.intermediate_dropout.p = FEED_FORWARD_DROPOUT

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Return one AdamW for encoder and head."""
        return [self.schedule.optimiser(self.model.parameters())]

    def training_step(self, batch: Batch, index: int) -> None:
        """Take one true step on ``audio`` ``(B, 1, T)`` and ``units`` ``(B, N)``."""
        (optimiser,) = self.begin()
        hidden = None if self.masking is None else self.masking.draw(*batch["units"].shape)
        loss, right = self._measure(batch, hidden)
        optimiser.zero_grad()
        self.manual_backward(loss)
        nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        optimiser.step()
        self.metrics = {"train/loss": loss.detach(), "train/accuracy": right}
        self.step += 1

    def judge(self, batch: Batch) -> dict[str, Tensor]:
        """Return cross-entropy, and the share of frames whose unit is the most probable one."""
        loss, right = self._measure(batch, None)
        return {"valid/loss": loss, "valid/accuracy": right}

    def _measure(self, batch: Batch, hidden: Tensor | None) -> tuple[Tensor, Tensor]:
        units = batch["units"]
        hidden = None if hidden is None else hidden.to(units.device)
        logits = self.model.network(batch["audio"][:, 0], hidden).float()
        right = (logits.argmax(-1) == units).float().mean().detach()
        return unit_loss(logits, units, hidden, self.alpha), right


def unit_loss(logits: Tensor, units: Tensor, hidden: Tensor | None = None, alpha: float = 1.0) -> Tensor:
    """Return cross-entropy of logits ``(B, N, K)`` and units ``(B, N)``; ``hidden`` ``(B, N)`` ones weigh ``alpha``."""
    losses = F.cross_entropy(logits.transpose(1, 2), units, reduction="none")
    if hidden is None:
        return losses.mean()
    shares = [(losses * part).sum() / part.sum().clamp_min(1) for part in (hidden, ~hidden)]
    return alpha * shares[0] + (1 - alpha) * shares[1]
