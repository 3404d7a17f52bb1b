"""Units, quantised F0 and speakers to a trained vocoder: the bundle ``systems/resynthesis/``.

In: ``audio``, ``units``, ``f0`` and ``f0_stats.json`` of the corpora in roles ``train`` and ``target``, and the outputs
of ``encoder``, ``kmeans`` and ``train_f0_vq``. Out: the bundle and its ``history.csv``.
Source: Polyak et al. 2021, sections 2.2 and 3.1. Runs with only torch, lightning, pyarrow and safetensors installed
(audio as wav).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file

from models.hifigan import Discriminators
from models.resynthesis import UnitGenerator
from models.resynthesis.vocoder_training import ResynthesisTraining
from respeak.systems.resynthesis.bundle import save_resynthesis
from speech.errors import UserError
from speech.pitch import Normalisation, location_scale
from speech.rates import F0_HOP, SAMPLE_RATE, UNIT_HOP
from stages.data.segments import Cut, training_and_validation
from stages.data.speaker_facts import SpeakerFacts, read_speakers, unit_voicing
from stages.data.utterance_index import CorpusStreams, Stream
from stages.params.audio import Audio
from stages.params.corpora import Roles
from stages.params.f0 import F0
from stages.params.resynthesis import TrainF0VQ, TrainResynthesis
from stages.params.runtime import Common
from stages.runtime.stage import Stage, stage_main
from stages.training.delivery import Delivery
from stages.training.gan import loss_weights
from stages.training.run import Run
from stages.training.schedules import schedule
from stages.training.trainer import fit
from stages.training.validation_audio import log_examples

OUTPUT = Path("systems/resynthesis")
ENCODER = Path("encoder")
KMEANS = Path("kmeans")
F0_VQ = Path("train_f0_vq")
VECTOR_DIM = 256  # of the stage speakers


@dataclass(frozen=True)
class Params(Common):
    """Sections of ``params.yaml`` that this stage reads."""

    seed: int
    roles: Roles
    audio: Audio
    f0: F0
    train_f0_vq: Annotated[TrainF0VQ, "through train_f0_vq, the quantiser that it made"]
    train_resynthesis: TrainResynthesis


def run(stage: Stage[Params]) -> None:
    """Train the vocoder and bundle it."""
    params, spec, f0_scale = stage.params, stage.params.train_resynthesis, stage.params.train_f0_vq.normalise
    corpora = [Path("data") / name for name in dict.fromkeys([params.roles.train, params.roles.target])]
    streams, cut = _streams(params), Cut(spec.loop.segment_samples, f0_scale)
    # A table has rows for the voices of training alone; d-vectors are judged on others where the corpus has some.
    batches, checks = training_and_validation(
        [CorpusStreams(corpus, streams) for corpus in corpora], cut, spec.loop, params.seed, spec.speaker == "table"
    )
    speakers = read_speakers(corpora, batches.index.speakers)
    centroids = _centroids()
    arguments = _model_arguments(params, len(centroids), len(speakers.f0))
    torch.manual_seed(params.seed)
    generator = _generator(arguments, speakers)
    module = ResynthesisTraining(
        generator,
        Discriminators(**dataclasses.asdict(spec.discriminator)),
        loss_weights(spec.loss),
        spec.adversarial_from_step,
        schedule(spec.optimiser),
        params.seed,
    )
    parts = ("audio", "units", "f0", "speakers", "f0_stats.json")
    job = stage.job([*(corpus / part for corpus in corpora for part in parts), ENCODER, KMEANS, F0_VQ], OUTPUT)
    delivery = Delivery(job, fit(module, batches, checks, Run.of(job, spec.loop, stage.tracker)))
    log_examples(stage.tracker, module, checks.batch(0))
    config = _bundle_config(params, arguments, job.fingerprint, len(centroids))
    voicing = unit_voicing(corpora, len(centroids)) if spec.use_f0 else None
    known = (speakers.f0, speakers.vectors, speakers.frames, voicing)
    save_resynthesis(delivery.folder, config, generator.state_dict(), centroids, ENCODER, *known)
    delivery.publish()
    stage.tracker.log_model(OUTPUT)


def _generator(arguments: dict[str, Any], speakers: SpeakerFacts) -> UnitGenerator:
    """Build the generator with the trained F0 quantiser inside, and the speakers' registers where it has a source."""
    generator = UnitGenerator(**arguments)
    if generator.quantizer is not None:
        generator.quantizer.load_state_dict(load_file(F0_VQ / "model.safetensors"))
    if arguments["source"] == "harmonic":
        generator.speaker_f0.copy_(_registers(speakers.f0, arguments["f0_scale"]))
    return generator


def _streams(params: Params) -> tuple[Stream, ...]:
    streams: list[Stream] = ["audio", "units"]
    if params.train_resynthesis.use_f0:
        streams.append("f0")
    if params.train_resynthesis.speaker == "vector":
        streams.append("speakers")
    return tuple(streams)


def _model_arguments(params: Params, num_units: int, num_speakers: int) -> dict[str, Any]:
    spec = params.train_resynthesis
    f0_vq = yaml.safe_load((F0_VQ / "config.yaml").read_text())
    return {
        "num_units": num_units,
        "num_speakers": num_speakers,
        "f0_quantizer": f0_vq["model"] if spec.use_f0 else None,
        **dataclasses.asdict(spec.generator),
        "f0_scale": params.train_f0_vq.normalise,
        "speaker_dim": VECTOR_DIM if spec.speaker == "vector" else 0,
        "durations": spec.durations,
    }


def _registers(f0_stats: Mapping[str, Any], scale: Normalisation) -> torch.Tensor:
    """Return mean and deviation of every speaker's voiced F0 in ``scale``, ``(speakers, 2)``."""
    return torch.tensor([location_scale(stats, scale) for stats in f0_stats.values()])


def _centroids() -> np.ndarray:
    path = KMEANS / "centroids.safetensors"
    if not path.is_file():
        raise UserError(f"{path}: not found; run the stage kmeans first")
    with safe_open(path, framework="numpy") as file:
        return file.get_tensor("centroids")


def _bundle_config(params: Params, arguments: dict[str, Any], fingerprint: str, num_units: int) -> dict[str, Any]:
    encoder = yaml.safe_load((ENCODER / "config.yaml").read_text())
    kmeans = yaml.safe_load((KMEANS / "config.yaml").read_text())
    return {
        "scale": params.scale,
        "sample_rate": SAMPLE_RATE,
        "unit_hop": UNIT_HOP,
        "f0_hop": F0_HOP,
        "encoder": encoder,
        "kmeans": {"k": num_units, "normalise": kmeans["normalise"]},
        "f0": {**dataclasses.asdict(params.f0), "normalise": params.train_f0_vq.normalise},
        "audio": {
            "trim_db": params.audio.trim_db,
            "normalise_peak": params.audio.normalise_peak,
            "pad_multiple": params.audio.pad_multiple,
        },
        "model": arguments,
        "provenance": {
            "stage": "train_resynthesis",
            "fingerprint": fingerprint,
            "steps": params.train_resynthesis.loop.steps,
            "corpora": list(dict.fromkeys([params.roles.train, params.roles.target])),
            "seed": params.seed,
        },
        "licence": "that of the corpora it was trained on",
    }


if __name__ == "__main__":
    stage_main("train_resynthesis", run, Params)
