"""The vocoder: log-mels to a waveform by HiFi-GAN (van Niekerk et al. 2022, section 2.3).

In: ``audio`` of the variant's corpus. Out: ``train_vocoder/<name>``: ``generator.safetensors``,
``discriminators.safetensors`` (for fine-tuning goes on from both), ``config.yaml`` (their sizes) and ``history.csv``.
Log-mels are made of recordings at random loudness and polarity. Runs with only torch, torchaudio, lightning, pyarrow
and safetensors.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import torch

from models.hifigan import Discriminators
from models.softvc import MEL, Vocoder
from models.softvc.vocoder_training import VocoderTraining
from stages.data.batches import validation_steps
from stages.data.utterances import UtteranceSet, WindowBatches
from stages.params.runtime import Common
from stages.params.softvc import TrainVocoder
from stages.runtime.stage import Stage, stage_main
from stages.training.delivery import Delivery
from stages.training.gan import loss_weights
from stages.training.run import Run
from stages.training.schedules import schedule
from stages.training.trainer import fit
from stages.training.validation_audio import log_examples

OUTPUT = Path("train_vocoder")


@dataclass(frozen=True)
class Params(Common):
    """Sections of ``params.yaml`` that this stage reads."""

    seed: int
    train_vocoder: TrainVocoder


def run(stage: Stage[Params]) -> None:
    """Train one variant."""
    params, spec = stage.params, stage.params.train_vocoder
    name = stage.require_variant(list(spec.variants))
    corpus = Path("data") / spec.variants[name].corpus
    train, valid = (UtteranceSet.of(corpus, split, MEL) for split in ("train", "valid"))
    torch.manual_seed(params.seed)
    sizes, widths = dataclasses.asdict(spec.generator), dataclasses.asdict(spec.discriminator)
    module = VocoderTraining(
        Vocoder(**sizes),
        Discriminators(**widths),
        loss_weights(spec.loss),
        spec.adversarial_from_step,
        schedule(spec.optimiser),
        params.seed,
    )
    job = stage.job([corpus / "audio"], OUTPUT / name)
    loop = spec.loop
    window = (loop.segment_samples, loop.batch_size, params.seed)
    batches = WindowBatches(train, *window, loop.steps)
    checks = WindowBatches(valid, *window, validation_steps(len(valid), loop.batch_size))
    delivery = Delivery(job, fit(module, batches, checks, Run.of(job, loop, stage.tracker)))
    config = {"generator": sizes, "discriminator": widths, "corpus": spec.variants[name].corpus, "steps": loop.steps}
    log_examples(stage.tracker, module, checks.batch(0))
    delivery.save(config, generator=module.generator, discriminators=module.discriminators)
    delivery.publish(curves=True)


if __name__ == "__main__":
    stage_main("train_vocoder", run, Params)
