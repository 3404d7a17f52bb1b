"""Training of the vocoder (van Niekerk et al. 2022, sections 2.3 and 3.1) as a Lightning module.

B: batch, T: samples at 16 kHz, M: mel frames of 10 ms.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.hifigan.training import GanTraining
from models.softvc.mel import MEL, wave_to_mel
from models.training import Batch

GAINS = (0.4, 0.99)  # peaks of recordings in training
SILENT_PEAK = 1e-5  # half of the least step of 16 bits is 1.5e-5


class VocoderTraining(GanTraining):
    """Training of HiFi-GAN on log-mels (section 2.3).

    Batches hold ``audio`` ``(B, 1, T)``; in fine-tuning also ``mel`` ``(B, mels, M)``, as the acoustic model predicts
    it. Without it the log-mel is the recording's own, at a random loudness and polarity.
    """

    mel = MEL

    def prepare(self, batch: Batch) -> Batch:
        """Return the batch with ``mel``; what had none is first brought to a random peak."""
        if "mel" in batch:
            return batch
        return self._with_mel(at_random_loudness(batch["audio"]))

    def generate(self, batch: Batch) -> Tensor:
        """Return waveforms ``(B, 1, T)`` of a batch's mels, or of its recordings' own."""
        return self.generator((batch if "mel" in batch else self._with_mel(batch["audio"]))["mel"])

    def judge(self, batch: Batch) -> dict[str, Tensor]:
        """Return the mean absolute log-mel difference of recordings as they are."""
        return super().judge(batch if "mel" in batch else self._with_mel(batch["audio"]))

    @staticmethod
    def _with_mel(audio: Tensor) -> dict[str, Tensor]:
        with torch.autocast(audio.device.type, enabled=False):
            return {"audio": audio, "mel": wave_to_mel(audio.float()[:, 0])}


def at_random_loudness(audio: Tensor) -> Tensor:
    """Return waveforms ``(B, 1, T)``, each at a peak drawn from ``GAINS`` and with either polarity; silence stays."""
    peak = audio.abs().amax(dim=(1, 2), keepdim=True).clamp_min(SILENT_PEAK)
    low, high = GAINS
    drawn = torch.rand(2, len(audio), 1, 1).to(audio.device)  # on the processor: the same wherever it trains
    sign = torch.where(drawn[1] < 0.5, 1.0, -1.0)
    return audio / peak * (low + (high - low) * drawn[0]) * sign
