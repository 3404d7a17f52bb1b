"""Facts of ``pretrain``, a HuBERT by masked prediction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stages.facts.facts import Phase, training
from stages.facts.trials import StepTrial

if TYPE_CHECKING:
    from models.training import TrainingModule
    from stages.facts.scene import Scene


def _phases(scene: Scene, variant: str) -> Sequence[Phase]:
    spec = scene.params.pretrain
    iteration = spec.iterations[variant]

    def module() -> TrainingModule:
        from models.encoders import build_encoder
        from models.encoders.hubert import Hubert
        from models.encoders.training import HubertTraining, LinearSchedule, MaskedPrediction, Masking

        layers = int(spec.model.get("layers", 12))
        encoder = build_encoder({"kind": "hubert", "layer": layers, "options": spec.model})
        assert isinstance(encoder, Hubert)
        model = MaskedPrediction(encoder.train().requires_grad_(True), iteration.k, spec.label_dim, spec.temperature)
        return HubertTraining(
            model, Masking(spec.mask_starts, spec.mask_span), spec.unmasked_weight, LinearSchedule(), 0
        )

    return [Phase(iteration.steps, StepTrial("pretrain", module, spec.loop))]


STAGES = {"pretrain": training(_phases)}
