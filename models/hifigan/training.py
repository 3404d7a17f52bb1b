"""Adversarial training of a vocoder (Kong et al. 2020, section 2.4) as a Lightning module, whatever its inputs are.

B: batch, T: samples at 16 kHz. A system subclasses :class:`GanTraining` and defines how its generator makes waveforms
of a batch; any module that gives scores and feature maps of waveforms can be the discriminators.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from models.hifigan import losses
from models.hifigan.discriminators import Output
from models.training import Batch, Schedule, TrainingModule
from speech.mel_spectrogram import PUBLISHED


@dataclass(frozen=True)
class LossWeights:
    """Weights of the generator's losses beside the adversarial one, which has weight 1.

    Attributes:
        mel: of the log-mel distance (published: 45).
        feature: of the distance of the discriminators' feature maps (published: 2).
        stft: of the multi-resolution STFT loss, which is not published; 0 leaves it out.
        floor: mel magnitude below which nothing is told apart.
        extra: of the losses that a system adds, by name; one that is not named has weight 1.
    """

    mel: float = 45.0
    feature: float = 2.0
    stft: float = 0.0
    floor: float = losses.MEL_FLOOR
    extra: Mapping[str, float] = field(default_factory=dict)


class GanTraining(TrainingModule):
    """Training of a generator against discriminators, which join at ``adversarial_from_step``.

    During this warm-up the mel (and STFT) loss alone counts, and the discriminators are neither run nor stepped; then
    each step is one of theirs and one of the generator's. Batches hold ``audio`` ``(B, 1, T)`` float32 in [-1, 1] at
    16 kHz, and whatever the generator makes waveforms of.

    Args:
        generator: whose waveforms :meth:`generate` returns.
        discriminators: map ``(B, 1, T)`` to one (scores, feature maps) per discriminator.
        weights: of the losses.
        adversarial_from_step: steps of the warm-up.
        schedule: of either optimiser.
        seed: of the random numbers.
    """

    monitored = "valid/loss_mel"
    parallel = True
    mel = PUBLISHED
    """Sizes of the log-mel that is compared."""

    def __init__(
        self,
        generator: nn.Module,
        discriminators: nn.Module,
        weights: LossWeights,
        adversarial_from_step: int,
        schedule: Schedule,
        seed: int,
    ) -> None:
        super().__init__(schedule, seed)
        self.generator = generator
        self.discriminators = discriminators
        self.weights = weights
        self.adversarial_from_step = adversarial_from_step

    @abstractmethod
    def generate(self, batch: Batch) -> Tensor:
        """Return the generator's waveforms ``(B, 1, T)`` of a batch."""

    def prepare(self, batch: Batch) -> Batch:
        """Return the batch that a training step takes: by default the one that came."""
        return batch

    def extra_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses that a system adds, unweighted and by name: by default none."""
        return {}

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Return AdamW of the generator and AdamW of the discriminators."""
        modules = (self.generator, self.discriminators)
        return [self.schedule.optimiser(module.parameters()) for module in modules]

    def training_step(self, batch: Batch, index: int) -> None:
        """Take one true step: discriminators first (after the warm-up), then the generator against the updated ones."""
        optim_g, optim_d = self.begin()
        batch = self.prepare(batch)
        real = batch["audio"]
        fake = self.generate(batch)
        adversarial = self.step >= self.adversarial_from_step
        self.metrics = {}
        if adversarial:
            self._discriminator_step(optim_d, real, fake.detach())
        loss = self._spectral(real, fake) + self._extra(batch)
        if adversarial:
            self.discriminators.requires_grad_(False)
            loss = loss + self._adversarial(real, fake)
        self.descend(optim_g, loss)
        self.discriminators.requires_grad_(True)
        self.metrics["train/loss_generator"] = loss.detach()
        self.step += 1

    def judge(self, batch: Batch) -> dict[str, Tensor]:
        """Return the mean absolute log-mel difference of one validation batch."""
        mel = losses.mel_loss(batch["audio"], self.generate(batch), self.mel, self.weights.floor)
        return {"valid/loss_mel": mel}

    def _discriminator_step(self, optimiser: Any, real: Tensor, fake: Tensor) -> None:
        both = self.discriminators(torch.cat([real, fake]))
        loss = losses.discriminator_loss(*_halves(both, real.shape[0]))
        self.descend(optimiser, loss)
        self.metrics["train/loss_discriminator"] = loss.detach()

    def _spectral(self, real: Tensor, fake: Tensor) -> Tensor:
        mel = losses.mel_loss(real, fake, self.mel, self.weights.floor)
        self.metrics["train/loss_mel"] = mel.detach()
        loss = self.weights.mel * mel
        if self.weights.stft:
            stft = losses.stft_loss(real, fake, floor=self.weights.floor)
            self.metrics["train/loss_stft"] = stft.detach()
            loss = loss + self.weights.stft * stft
        return loss

    def _extra(self, batch: Batch) -> Tensor | float:
        total: Tensor | float = 0.0
        for name, loss in self.extra_losses(batch).items():
            self.metrics[f"train/loss_{name}"] = loss.detach()
            total = total + self.weights.extra.get(name, 1.0) * loss
        return total

    def _adversarial(self, real: Tensor, fake: Tensor) -> Tensor:
        with torch.no_grad():
            theirs = self.discriminators(real)
        ours = self.discriminators(fake)
        feature = losses.feature_loss(theirs, ours)
        adversarial = losses.adversarial_loss(ours)
        self.metrics |= {"train/loss_feature": feature.detach(), "train/loss_adversarial": adversarial.detach()}
        return self.weights.feature * feature + adversarial


def _halves(outputs: Sequence[Output], batch: int) -> tuple[list[Output], list[Output]]:
    """Split outputs of a joint batch into those of its first ``batch`` waves and those of the rest."""
    first: list[Output] = [(score[:batch], []) for score, _ in outputs]
    return first, [(score[batch:], []) for score, _ in outputs]
