"""Facts of the resynthesis system: ``train_f0_vq``, ``train_resynthesis``, and how fast its vocoder is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from stages.facts.facts import Phase, training
from stages.facts.trials import MANY_SPEAKERS, SpeedTrial, StepTrial, segments

if TYPE_CHECKING:
    from models.resynthesis import UnitGenerator
    from models.training import TrainingModule
    from stages.facts.scene import Scene
    from stages.params.whole import Params

SECONDS = 4.0  # of an utterance
SAMPLES = 1280 * int(SECONDS * 16_000 / 1280)


def generator(params: Params) -> UnitGenerator:
    """Return the unit vocoder of ``train_resynthesis`` with random weights."""
    from models.resynthesis import UnitGenerator

    spec, f0_vq = params.train_resynthesis, params.train_f0_vq
    quantiser = asdict(f0_vq.model) if spec.use_f0 else None
    sizes = asdict(spec.generator)
    return UnitGenerator(params.kmeans.k, MANY_SPEAKERS, f0_quantizer=quantiser, **sizes, f0_scale=f0_vq.normalise)


def _f0_vq(scene: Scene, _: str) -> Sequence[Phase]:
    spec = scene.params.train_f0_vq

    def module() -> TrainingModule:
        from models.resynthesis.f0_vq import F0VQVAE
        from models.resynthesis.f0_vq_training import F0VQTraining
        from models.training import Schedule

        return F0VQTraining(F0VQVAE(**asdict(spec.model)), spec.commit_weight, Schedule(), 0)

    return [Phase(spec.loop.steps, StepTrial("f0 vq", module, spec.loop))]


def _vocoder(scene: Scene, _: str) -> Sequence[Phase]:
    """Return the phases of the vocoder's training: before the discriminators join, and after."""
    spec = scene.params.train_resynthesis

    def module() -> TrainingModule:
        from models.hifigan import Discriminators
        from models.resynthesis.vocoder_training import ResynthesisTraining
        from models.training import Schedule
        from stages.training.gan import loss_weights

        discriminators = Discriminators(**asdict(spec.discriminator))
        weights = loss_weights(spec.loss)
        return ResynthesisTraining(generator(scene.params), discriminators, weights, 1, Schedule(), 0)

    alone = min(spec.adversarial_from_step, spec.loop.steps)
    return [
        Phase(alone, StepTrial("vocoder alone", module, spec.loop)),
        Phase(spec.loop.steps - alone, StepTrial("vocoder", module, spec.loop, step=1)),
    ]


def _synthesis(scene: Scene, experiment: str) -> Sequence[SpeedTrial]:
    """Return the trial of synthesis, one utterance after another."""

    def prepare(device: str) -> Callable[[], Any]:
        model = generator(scene.params).eval().to(device)
        model.vocoder.prepare()
        made = segments(replace(scene.params.train_resynthesis.loop, segment_samples=SAMPLES), 1)
        batch = {name: value.to(device) for name, value in made.items()}
        return lambda: model(batch["units"], batch["f0"], batch["speaker"])

    return [SpeedTrial("resynthesis", SECONDS, prepare)]


STAGES = {"train_f0_vq": training(_f0_vq), "train_resynthesis": training(_vocoder)}
SYSTEMS = {"resynthesis": _synthesis}
