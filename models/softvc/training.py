"""Training of soft units, acoustic model and vocoder (van Niekerk et al. 2022, section 3.1) as Lightning modules.

B: batch, T: samples at 16 kHz, N: units of 20 ms, M: mel frames of 10 ms, K: discrete units.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.encoders.soft import SoftHubert
from models.encoders.training import Masking
from models.resynthesis.training import ResynthesisTraining
from models.softvc.acoustic import AcousticModel
from models.softvc.mel import MEL, wave_to_mel
from models.training import Batch, Schedule, TrainingModule

CLIP = 10.0  # norm of the gradient of soft-unit training, as published
FEED_FORWARD_DROPOUT = 0.1  # the published fine-tuning has it, pretraining has none
GAINS = (0.4, 0.99)  # peaks that the vocoder hears in training
SILENT_PEAK = 1e-5  # half of the least step of 16 bits is 1.5e-5


class SoftUnitTraining(TrainingModule):
    """Cross-entropy of discrete units, named by a HuBERT from the waveform (section 2.1).

    Without ``masking`` over all frames. With it, ``alpha`` of that on hidden frames and ``1 - alpha`` on the others;
    validation then hears everything, as soft units do.
    """

    monitored = "valid/loss"

    def __init__(self, model: SoftHubert, masking: Masking | None, alpha: float, schedule: Schedule, seed: int) -> None:
        super().__init__(schedule, seed)
        self.model, self.masking, self.alpha = model, masking, alpha
        for layer in model.network.encoder.model.encoder.transformer.layers:
            layer.feed_forward.intermediate_dropout.p = FEED_FORWARD_DROPOUT

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """One AdamW for encoder and head."""
        return [self.schedule.optimiser(self.model.parameters())]

    def training_step(self, batch: Batch, index: int) -> None:
        """One true step on ``audio`` ``(B, 1, T)`` and ``units`` ``(B, N)``."""
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
        """Cross-entropy, and the share of frames whose unit is the most probable one."""
        loss, right = self._measure(batch, None)
        return {"valid/loss": loss, "valid/accuracy": right}

    def _measure(self, batch: Batch, hidden: Tensor | None) -> tuple[Tensor, Tensor]:
        units = batch["units"]
        hidden = None if hidden is None else hidden.to(units.device)
        logits = self.model.network(batch["audio"][:, 0], hidden).float()
        right = (logits.argmax(-1) == units).float().mean().detach()
        return unit_loss(logits, units, hidden, self.alpha), right


def unit_loss(logits: Tensor, units: Tensor, hidden: Tensor | None = None, alpha: float = 1.0) -> Tensor:
    """Cross-entropy of logits ``(B, N, K)`` and units ``(B, N)``; ``hidden`` ``(B, N)`` bool weighs as ``alpha``."""
    losses = F.cross_entropy(logits.transpose(1, 2), units, reduction="none")
    if hidden is None:
        return losses.mean()
    shares = [(losses * part).sum() / part.sum().clamp_min(1) for part in (hidden, ~hidden)]
    return alpha * shares[0] + (1 - alpha) * shares[1]


def mel_distance(mels: Tensor, target: Tensor, frames: Tensor, mask_padding: bool = True) -> Tensor:
    """Mean absolute difference of log-mels ``(B, M, mels)``: of each utterance over its own frames, then over all.

    Without ``mask_padding``, as published, what lies behind an utterance's end counts too, while its number of
    ``frames`` ``(B,)`` remains the divisor.
    """
    difference = (mels - target).abs().sum(2)
    if mask_padding:
        difference = difference * (torch.arange(mels.shape[1], device=mels.device) < frames[:, None])
    return (difference.sum(1) / (mels.shape[2] * frames)).mean()


def shifted(mels: Tensor) -> Tensor:
    """The frame before each, zeros before the first: ``(B, M, mels)``."""
    return F.pad(mels, (0, 0, 1, -1))


class AcousticTraining(TrainingModule):
    """Teacher forcing: every frame is said after the true one (section 2.2)."""

    monitored = "valid/loss_mel"

    def __init__(self, model: AcousticModel, schedule: Schedule, seed: int) -> None:
        super().__init__(schedule, seed)
        self.model = model

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """One AdamW for the whole model."""
        return [self.schedule.optimiser(self.model.parameters())]

    def training_step(self, batch: Batch, index: int) -> None:
        """One true step.

        ``content`` ``(B, N, D)`` or ``(B, N)``, ``mel`` ``(B, M, mels)``, ``lengths`` ``(B,)`` in units, ``speaker``.
        """
        (optimiser,) = self.begin()
        loss = self._loss(batch)
        optimiser.zero_grad()
        self.manual_backward(loss)
        optimiser.step()
        self.metrics = {"train/loss_mel": loss.detach()}
        self.step += 1

    def judge(self, batch: Batch) -> dict[str, Tensor]:
        """Teacher-forced distance, and that of what the model says from its own frames."""
        lengths = batch["lengths"]
        said = self.model.generate(batch["content"], lengths, batch.get("speaker"))
        free = mel_distance(said, batch["mel"], lengths * self.model.frames_per_unit)
        return {"valid/loss_mel": self._loss(batch), "valid/l1_free_running": free}

    def _loss(self, batch: Batch) -> Tensor:
        target, lengths = batch["mel"], batch["lengths"]
        mels = self.model(batch["content"], shifted(target), lengths, batch.get("speaker"))
        return mel_distance(mels.float(), target, lengths * self.model.frames_per_unit, self.model.mask_padding)


class VocoderTraining(ResynthesisTraining):
    """HiFi-GAN on log-mels (section 2.3).

    ``audio`` ``(B, 1, T)``; in fine-tuning also ``mel`` ``(B, mels, M)``, as the acoustic model says it. Without it
    the log-mel is the recording's own, at a random loudness and polarity.
    """

    mel = MEL

    def prepare(self, batch: Batch) -> Batch:
        """The batch with ``mel``; what had none is first brought to a random peak."""
        if "mel" in batch:
            return batch
        return self._with_mel(at_random_loudness(batch["audio"]))

    def generate(self, batch: Batch) -> Tensor:
        """Waveforms ``(B, 1, T)`` of a batch's mels, or of its recordings' own."""
        return self.generator((batch if "mel" in batch else self._with_mel(batch["audio"]))["mel"])

    def judge(self, batch: Batch) -> dict[str, Tensor]:
        """Mean absolute log-mel difference of recordings as they are."""
        return super().judge(batch if "mel" in batch else self._with_mel(batch["audio"]))

    @staticmethod
    def _with_mel(audio: Tensor) -> dict[str, Tensor]:
        with torch.autocast(audio.device.type, enabled=False):
            return {"audio": audio, "mel": wave_to_mel(audio.float()[:, 0])}


def at_random_loudness(audio: Tensor) -> Tensor:
    """Waveforms ``(B, 1, T)``, each at a peak drawn from ``GAINS`` and with either polarity; silence stays."""
    peak = audio.abs().amax(dim=(1, 2), keepdim=True).clamp_min(SILENT_PEAK)
    low, high = GAINS
    drawn = torch.rand(2, len(audio), 1, 1).to(audio.device)  # on the processor: the same wherever it trains
    sign = torch.where(drawn[1] < 0.5, 1.0, -1.0)
    return audio / peak * (low + (high - low) * drawn[0]) * sign
