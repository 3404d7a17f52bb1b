"""Training of the unit vocoder (Polyak et al. 2021, section 3.1) as a Lightning module.

B: batch, S: samples at 16 kHz, R: units without repetitions, D: width of the unit table.
"""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor

from models.hifigan.training import GanTraining
from models.resynthesis.durations import DurationPredictor, runs_of, whole_runs
from models.training import Batch


class ResynthesisTraining(GanTraining):
    """Training of a :class:`~models.resynthesis.UnitGenerator` against HiFi-GAN's discriminators.

    Batches hold ``audio`` ``(B, 1, S)``, ``units`` ``(B, S / 320)``, ``f0`` ``(B, 1, S / 80)`` where the generator
    takes it, ``speaker`` ``(B,)`` or, of a generator that knows voices by vectors, ``vector`` ``(B, D)`` and
    ``register`` ``(B, 2)``. The weight of the loss of durations is ``extra["duration"]``.
    """

    def generate(self, batch: Batch) -> Tensor:
        """Return waveforms ``(B, 1, S)`` of a batch's units, F0 and speakers (rows of a table, or vectors)."""
        generator: Any = self.generator
        if not generator.speaker_dim:
            return generator(batch["units"], batch.get("f0"), batch["speaker"])
        return generator(batch["units"], batch.get("f0"), batch["vector"], batch.get("register"))

    def extra_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the loss of durations, where the generator predicts them."""
        if self._durations is None:
            return {}
        return {"duration": self._durations.loss(*self._runs(batch["units"]))}

    def judge(self, batch: Batch) -> dict[str, Tensor]:
        """Return the log-mel difference and, of durations, their mean absolute error in frames of 20 ms."""
        judged = super().judge(batch)
        if self._durations is None:
            return judged
        embedded, lengths = self._runs(batch["units"])
        error = (self._durations.frames(embedded) - lengths)[lengths > 0].abs().float()
        return judged | {"valid/l1_duration": error.mean() if len(error) else error.new_zeros(())}

    @property
    def _durations(self) -> DurationPredictor | None:
        return getattr(self.generator, "durations", None)

    def _runs(self, units: Tensor) -> tuple[Tensor, Tensor]:
        """Return embeddings ``(B, R, D)`` of units without repetitions, and how long those last that are whole."""
        runs, generator = runs_of(units), cast("Any", self.generator)
        return generator.unit_embedding(runs.units), whole_runs(runs)
