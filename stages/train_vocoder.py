"""The vocoder: log-mels to a waveform by HiFi-GAN (van Niekerk et al. 2022, section 2.3).

In: ``audio`` of the variant's corpus. Out: ``train_vocoder/<name>``: ``generator.safetensors``,
``discriminators.safetensors`` (for fine-tuning goes on from both), ``config.yaml`` (their sizes) and ``history.csv``.
Log-mels are made of recordings at random loudness and polarity. Runs with only torch, torchaudio, lightning, pyarrow
and safetensors.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path

import torch

from models.hifigan import Discriminators
from models.resynthesis.training import LossWeights
from models.softvc import Vocoder
from models.softvc.vocoder_training import VocoderTraining
from respeak.systems.softvc.bundle import save_part
from stages.data.utterances import Utterances, Windows
from stages.params.runtime import Common
from stages.params.softvc import TrainVocoder
from stages.runtime.stage import Stage, stage_main
from stages.training import trainer
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
    train, valid = (Utterances.of(corpus, split) for split in ("train", "valid"))
    torch.manual_seed(params.seed)
    sizes, widths = dataclasses.asdict(spec.generator), dataclasses.asdict(spec.discriminator)
    module = VocoderTraining(
        Vocoder(**sizes),
        Discriminators(**widths),
        LossWeights(**dataclasses.asdict(spec.loss)),
        spec.adversarial_from_step,
        trainer.schedule(spec.optimiser),
        params.seed,
    )
    job = stage.job([corpus / "audio"], OUTPUT / name)
    loop = spec.loop
    window = (loop.segment_samples, loop.batch_size, params.seed)
    batches = functools.partial(Windows, train, *window, loop.steps)
    checks = Windows(valid, *window, trainer.validation_batches(valid, loop))
    history = trainer.train(stage, job, module, loop, batches, checks)
    config = {"generator": sizes, "discriminator": widths, "corpus": spec.variants[name].corpus, "steps": loop.steps}
    log_examples(stage.tracker, module, checks.batch(0))
    states = {"generator": module.generator.state_dict(), "discriminators": module.discriminators.state_dict()}
    save_part(job.parts, config, **states)
    trainer.write_history(job.parts / "history.csv", history)
    trainer.write_history(OUTPUT / f"{name}.csv", history)  # where `dvc plots` finds it
    job.publish()


if __name__ == "__main__":
    stage_main("train_vocoder", run, Params)
