"""Training of the F0 quantiser and of the unit vocoder (Polyak et al. 2021, section 3.1) as Lightning modules.

Both step as `models.training` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from models.hifigan import losses
from models.hifigan.discriminators import Discriminators, Output
from models.resynthesis.durations import DurationPredictor, runs_of, whole_runs
from models.resynthesis.f0_vq import F0VQVAE
from models.training import Batch, Schedule, TrainingModule
from speech.mel_spectrogram import PUBLISHED


class F0VQTraining(TrainingModule):
    """Mean squared error of the reconstruction plus the weighted commitment loss."""

    monitored = "valid/loss_f0"
    parallel = True

    def __init__(self, model: F0VQVAE, commit_weight: float, schedule: Schedule, seed: int) -> None:
        super().__init__(schedule, seed)
        self.model = model
        self.commit_weight = commit_weight

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """One AdamW for the whole model."""
        return [self.schedule.optimiser(self.model.parameters())]

    def training_step(self, batch: Batch, index: int) -> None:
        """One true step on normalised F0 ``(B, 1, T)``."""
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
        """Reconstruction error, and its absolute value on voiced frames alone (in standard deviations)."""
        f0_hat, _ = self.model(batch["f0"])
        voiced = batch["f0"] != 0
        voiced_error = ((f0_hat - batch["f0"]).abs() * voiced).sum() / voiced.sum().clamp(min=1)
        return {"valid/loss_f0": mse_loss(f0_hat, batch["f0"]), "valid/l1_voiced": voiced_error}


@dataclass(frozen=True)
class LossWeights:
    """Weights beside the adversarial loss, which has weight 1; the STFT loss is not in the paper.

    ``floor`` is the mel magnitude below which nothing is told apart. ``duration`` is that of durations, where the
    generator predicts them.
    """

    mel: float = 45.0
    feature: float = 2.0
    stft: float = 0.0
    floor: float = losses.MEL_FLOOR
    duration: float = 1.0


class ResynthesisTraining(TrainingModule):
    """Mel (and STFT) loss alone until ``adversarial_from_step``, then one discriminator and one generator step each.

    During the warm-up the discriminators are neither run nor stepped.
    """

    monitored = "valid/loss_mel"
    parallel = True
    mel = PUBLISHED
    """What is compared: sizes of the log-mel."""

    def __init__(
        self,
        generator: nn.Module,
        discriminators: Discriminators,
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

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """AdamW of the generator, AdamW of the discriminators."""
        modules = (self.generator, self.discriminators)
        return [self.schedule.optimiser(module.parameters()) for module in modules]

    def prepare(self, batch: Batch) -> Batch:
        """The batch that a training step takes; here the one that came."""
        return batch

    def generate(self, batch: Batch) -> Tensor:
        """Waveforms ``(B, 1, S)`` of a batch's units, F0 and speakers (rows of a table, or the utterances' vectors)."""
        generator: Any = self.generator
        if not generator.speaker_dim:
            return generator(batch["units"], batch.get("f0"), batch["speaker"])
        return generator(batch["units"], batch.get("f0"), batch["vector"], batch.get("register"))

    def training_step(self, batch: Batch, index: int) -> None:
        """One true step: discriminators first (after the warm-up), then the generator against the updated ones."""
        optim_g, optim_d = self.begin()
        batch = self.prepare(batch)
        real = batch["audio"]
        fake = self.generate(batch)
        adversarial = self.step >= self.adversarial_from_step
        self.metrics = {}
        if adversarial:
            self._discriminator_step(optim_d, real, fake.detach())
        loss = self._spectral(real, fake) + self._duration(batch)
        if adversarial:
            self.discriminators.requires_grad_(False)
            loss = loss + self._adversarial(real, fake)
        self.descend(optim_g, loss)
        self.discriminators.requires_grad_(True)
        self.metrics["train/loss_generator"] = loss.detach()
        self.step += 1

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

    @property
    def _durations(self) -> DurationPredictor | None:
        return getattr(self.generator, "durations", None)

    def _duration(self, batch: Batch) -> Tensor | float:
        if self._durations is None:
            return 0.0
        loss = self._durations.loss(*self._runs(batch["units"]))
        self.metrics["train/loss_duration"] = loss.detach()
        return self.weights.duration * loss

    def _runs(self, units: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings ``(B, R, D)`` of units without repetitions, and how long those last that the cut left whole."""
        runs, generator = runs_of(units), cast("Any", self.generator)
        return generator.unit_embedding(runs.units), whole_runs(runs)

    def _adversarial(self, real: Tensor, fake: Tensor) -> Tensor:
        with torch.no_grad():
            theirs = self.discriminators(real)
        ours = self.discriminators(fake)
        feature = losses.feature_loss(theirs, ours)
        adversarial = losses.adversarial_loss(ours)
        self.metrics |= {"train/loss_feature": feature.detach(), "train/loss_adversarial": adversarial.detach()}
        return self.weights.feature * feature + adversarial

    def judge(self, batch: Batch) -> dict[str, Tensor]:
        """Mean absolute log-mel difference and, of durations, their mean absolute error in frames of 20 ms."""
        mel = losses.mel_loss(batch["audio"], self.generate(batch), self.mel, self.weights.floor)
        if self._durations is None:
            return {"valid/loss_mel": mel}
        embedded, lengths = self._runs(batch["units"])
        error = (self._durations.frames(embedded) - lengths)[lengths > 0].abs().float()
        return {"valid/loss_mel": mel, "valid/l1_duration": error.mean() if len(error) else mel.new_zeros(())}


def _halves(outputs: Sequence[Output], batch: int) -> tuple[list[Output], list[Output]]:
    """Outputs of a joint batch as those of its first ``batch`` waves and of the rest."""
    first: list[Output] = [(score[:batch], []) for score, _ in outputs]
    return first, [(score[batch:], []) for score, _ in outputs]
