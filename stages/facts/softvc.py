"""Facts of Soft-VC: its trainings, its soft units, and how fast encoder, acoustic model and vocoder are together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from stages.facts.facts import PROCESS_BYTES, Facts, Phase, on_gpu, training
from stages.facts.trials import MANY_SPEAKERS, UNIT_HOP, Batch, Sizes, SpeedTrial, StepTrial
from stages.facts.units import FRAMES_PER_SECOND, SIGNAL_DIMS, encoder_options, encoder_trial, encoding_work

if TYPE_CHECKING:
    from models.softvc import AcousticModel
    from models.training import TrainingModule
    from stages.facts.scene import Scene
    from stages.params.whole import Params

MELS_PER_SECOND = 2 * FRAMES_PER_SECOND
SECONDS = 4  # of an utterance


def _soft_units(scene: Scene, _: str) -> Sequence[Phase]:
    spec, k = scene.params.train_soft_units, scene.params.kmeans.k
    sizes = spec.model if scene.params.encoder.kind in SIGNAL_DIMS else encoder_options(scene)

    def module() -> TrainingModule:
        from models.encoders import build_encoder
        from models.encoders.soft import SoftHubert
        from models.softvc.soft_unit_training import SoftUnitTraining
        from models.training import Schedule

        options = {"k": k, "label_dim": spec.label_dim, "temperature": spec.temperature, "hubert": dict(sizes)}
        model = build_encoder({"kind": "soft_hubert", "layer": 0, "options": options})
        assert isinstance(model, SoftHubert)
        return SoftUnitTraining(model.train().requires_grad_(True), None, 0.0, Schedule(), 0)

    return [Phase(spec.loop.steps, StepTrial("soft units", module, spec.loop))]


def acoustic_model(params: Params) -> AcousticModel:
    """Return an acoustic model on discrete units with random weights."""
    from models.softvc import AcousticModel

    return AcousticModel(num_units=params.kmeans.k, num_speakers=MANY_SPEAKERS, **asdict(params.train_acoustic.model))


def _sentences(sizes: Sizes, rows: int) -> Batch:
    """Return a batch as an acoustic model is trained on, every utterance as long as the longest that is taken whole."""
    import torch

    from models.softvc import MEL

    frames = sizes.segment_samples // UNIT_HOP
    return {
        "content": torch.randint(2, (rows, frames)),
        "mel": torch.randn(rows, 2 * frames, MEL.n_mels),
        "lengths": torch.full((rows,), frames),
        "speaker": torch.zeros(rows, dtype=torch.int64),
    }


def _acoustic(scene: Scene, _: str) -> Sequence[Phase]:
    loop = scene.params.train_acoustic.loop

    def module() -> TrainingModule:
        from models.softvc.acoustic_training import AcousticTraining
        from models.training import Schedule

        return AcousticTraining(acoustic_model(scene.params), Schedule(), 0)

    return [Phase(loop.steps, StepTrial("acoustic", module, loop, batch=_sentences))]


def vocoder(params: Params) -> Any:
    """Return the mel vocoder of ``train_vocoder`` with random weights."""
    from models.softvc import Vocoder

    return Vocoder(**asdict(params.train_vocoder.generator))


def _vocoder_trial(scene: Scene) -> StepTrial:
    """Return the trial of a step with discriminators, which a fine-tuning takes as long for."""
    spec = scene.params.train_vocoder

    def module() -> TrainingModule:
        from models.hifigan import Discriminators
        from models.softvc.vocoder_training import VocoderTraining
        from models.training import Schedule
        from stages.training.gan import loss_weights

        discriminators = Discriminators(**asdict(spec.discriminator))
        weights = loss_weights(spec.loss)
        return VocoderTraining(vocoder(scene.params), discriminators, weights, 0, Schedule(), 0)

    return StepTrial("mel vocoder", module, spec.loop)


def _vocoder(scene: Scene, _: str) -> Sequence[Phase]:
    return [Phase(scene.params.train_vocoder.loop.steps, _vocoder_trial(scene))]


def _finetuning(scene: Scene, _: str) -> Sequence[Phase]:
    return [Phase(scene.params.finetune_vocoder.loop.steps, _vocoder_trial(scene))]


def _synthesis(scene: Scene, experiment: str) -> Sequence[SpeedTrial]:
    """Return the trials of the encoder, where a recording is encoded anew, the acoustic model and the vocoder.

    Of ``vocode``: that of the vocoder alone.
    """
    params = scene.params

    def prepare_vocoder(device: str) -> Callable[[], Any]:
        import torch

        from models.softvc import MEL

        network = vocoder(params).to(device).prepare()
        mel = torch.randn(1, MEL.n_mels, SECONDS * MELS_PER_SECOND, device=device)
        return lambda: network(mel)

    def prepare_acoustic(device: str) -> Callable[[], Any]:
        import torch

        model = acoustic_model(params).to(device).prepare()
        units = torch.zeros(1, SECONDS * FRAMES_PER_SECOND, dtype=torch.int64, device=device)
        lengths = torch.tensor([units.shape[1]], device=device)
        return lambda: model.generate(units, lengths, torch.zeros(1, dtype=torch.int64, device=device))

    to_waveform = SpeedTrial("mel vocoder synthesis", SECONDS, prepare_vocoder)
    if params.experiments[experiment].task == "vocode":
        return [to_waveform]
    return [encoder_trial(scene), SpeedTrial("acoustic synthesis", SECONDS, prepare_acoustic), to_waveform]


def _soft_units_disk(scene: Scene, corpus: str) -> float:
    return scene.seconds(corpus) * FRAMES_PER_SECOND * scene.params.train_soft_units.label_dim * 2


STAGES = {
    "train_soft_units": training(_soft_units),
    "soft_units": Facts(
        wants_gpu=on_gpu,
        work=encoding_work,
        memory=lambda scene, corpus: 3 * PROCESS_BYTES,
        disk=_soft_units_disk,
    ),
    "train_acoustic": training(_acoustic),
    "train_vocoder": training(_vocoder),
    "finetune_vocoder": training(_finetuning),
    "softvc": Facts(),
}
SYSTEMS = {"softvc": _synthesis}
