"""Units, quantised F0 and speakers to a trained vocoder: the bundle ``systems/resynthesis/``.

In: ``audio``, ``units``, ``f0`` and ``f0_stats.json`` of the corpora in roles ``train`` and ``target``, and the outputs
of ``encoder``, ``kmeans`` and ``train_f0_vq``. Out: the bundle and its ``history.csv``.
Source: Polyak et al. 2021, sections 2.2 and 3.1. Runs with only torch, lightning, pyarrow and safetensors installed
(audio as wav).
"""

from __future__ import annotations

import dataclasses
import functools
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
from models.resynthesis.training import LossWeights, ResynthesisTraining
from respeak.systems.resynthesis.bundle import save_resynthesis
from speech.errors import UserError
from speech.pitch import Normalisation, location_scale
from stages.data.segments import F0_HOP, UNIT_HOP, Corpus, Segment, Segments, Stream, build_index
from stages.data.speaker_facts import read_voices, unit_voicing
from stages.params.audio import Audio
from stages.params.corpora import Roles
from stages.params.f0 import F0
from stages.params.resynthesis import TrainF0VQ, TrainResynthesis
from stages.params.runtime import Common
from stages.runtime.stage import Stage, stage_main
from stages.training import trainer
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
    params, spec = stage.params, stage.params.train_resynthesis
    names = list(dict.fromkeys([params.roles.train, params.roles.target]))
    corpora = [Corpus(Path("data") / name, _streams(params)) for name in names]
    train = build_index(corpora, "train")
    speakers = train.speakers
    # A table has rows for the voices of training alone; d-vectors are judged on others where the corpus has some.
    valid = build_index(corpora, "valid", speakers if spec.speaker == "table" else None)
    centroids = _centroids()

    torch.manual_seed(params.seed)
    arguments = _model_arguments(params, len(centroids), len(speakers))
    generator = UnitGenerator(**arguments)
    if generator.quantizer is not None:
        generator.quantizer.load_state_dict(load_file(F0_VQ / "model.safetensors"))
    voices = read_voices([Path("data") / name for name in names], speakers)
    if spec.generator.source == "harmonic":
        generator.speaker_f0.copy_(_registers(voices.f0, params.train_f0_vq.normalise))
    module = ResynthesisTraining(
        generator,
        Discriminators(**dataclasses.asdict(spec.discriminator)),
        LossWeights(**dataclasses.asdict(spec.loss)),
        spec.adversarial_from_step,
        trainer.schedule(spec.optimiser),
        params.seed,
    )

    parts = ("audio", "units", "f0", "speakers", "f0_stats.json")
    inputs = [Path("data") / name / part for name in names for part in parts]
    job = stage.job([*inputs, ENCODER, KMEANS, F0_VQ], OUTPUT)
    segment = Segment(spec.loop.segment_samples, params.train_f0_vq.normalise)
    size, loop = spec.loop.batch_size, spec.loop
    batches = functools.partial(Segments, train, segment, speakers, size, params.seed, loop.steps)
    checks = Segments(valid, segment, speakers, size, params.seed, trainer.validation_batches(valid, loop))
    history = trainer.train(stage, job, module, loop, batches, checks)
    log_examples(stage.tracker, module, checks.batch(0))
    config = _bundle_config(params, arguments, job.fingerprint, len(centroids))
    voicing = unit_voicing([Path("data") / name for name in names], len(centroids)) if spec.use_f0 else None
    known = (voices.f0, voices.vectors, voices.frames, voicing)
    save_resynthesis(job.parts, config, generator.state_dict(), centroids, ENCODER, *known)
    trainer.write_history(job.parts / "history.csv", history)
    job.publish()
    stage.tracker.log_model(OUTPUT)


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
    """Mean and deviation of every speaker's voiced F0 in ``scale``, ``(speakers, 2)``."""
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
        "sample_rate": 16000,
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
