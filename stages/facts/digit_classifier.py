"""Facts of ``train_digit_classifier``, a judge that is trained here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from stages.facts.facts import Phase, training
from stages.facts.trials import Batch, Sizes, StepTrial

if TYPE_CHECKING:
    from models.training import TrainingModule
    from stages.facts.scene import Scene


def _digits(sizes: Sizes, rows: int) -> Batch:
    import torch

    return {"audio": torch.randn(rows, sizes.segment_samples), "digit": torch.zeros(rows, dtype=torch.int64)}


def _phases(scene: Scene, _: str) -> Sequence[Phase]:
    spec = scene.params.train_digit_classifier

    def module() -> TrainingModule:
        from models.judges.resnext import DigitClassifier
        from models.judges.training import DigitTraining
        from models.training import Schedule

        return DigitTraining(DigitClassifier(**asdict(spec.model)), Schedule(), 0)

    return [Phase(spec.loop.steps, StepTrial("digits", module, spec.loop, batch=_digits))]


STAGES = {"train_digit_classifier": training(_phases)}
