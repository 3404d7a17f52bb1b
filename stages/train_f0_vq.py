"""F0 of the training and target corpora to a trained F0 quantiser: ``train_f0_vq/``.

In: ``audio`` (speakers and splits only), ``f0`` and ``f0_stats.json`` of the corpora in roles ``train`` and ``target``.
Out: ``model.safetensors``, ``config.yaml`` (constructor arguments and normalisation) and ``history.csv``.
Source: Polyak et al. 2021, sections 2.1 and 3.1. Runs with only torch, lightning, pyarrow and safetensors installed.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import torch

from models.resynthesis import F0VQVAE
from models.resynthesis.f0_vq_training import F0VQTraining
from speech.errors import UserError
from speech.rates import F0_HOP
from stages.data.batches import Batches
from stages.data.segments import Cut, training_and_validation
from stages.data.utterance_index import CorpusStreams
from stages.params.corpora import Roles
from stages.params.resynthesis import TrainF0VQ
from stages.params.runtime import Common
from stages.runtime.stage import Stage, stage_main
from stages.training.delivery import Delivery
from stages.training.run import Run
from stages.training.schedules import schedule
from stages.training.trainer import fit

OUTPUT = Path("train_f0_vq")


@dataclass(frozen=True)
class Params(Common):
    """Sections of ``params.yaml`` that this stage reads."""

    seed: int
    roles: Roles
    train_f0_vq: TrainF0VQ


def run(stage: Stage[Params]) -> None:
    """Train the F0 quantiser."""
    params, spec = stage.params, stage.params.train_f0_vq
    names = list(dict.fromkeys([params.roles.train, params.roles.target]))
    torch.manual_seed(params.seed)
    model = F0VQVAE(**dataclasses.asdict(spec.model))
    if spec.loop.segment_samples // F0_HOP % model.hop:
        raise UserError(f"params.yaml: train_f0_vq: segment_samples must be a multiple of {F0_HOP * model.hop}")
    corpora = [CorpusStreams(Path("data") / name, ("f0",)) for name in names]
    cut = Cut(spec.loop.segment_samples, spec.normalise)
    batches, checks = training_and_validation(corpora, cut, spec.loop, params.seed)
    module = F0VQTraining(model, spec.commit_weight, schedule(spec.optimiser), params.seed)
    inputs = [Path("data") / name / part for name in names for part in ("audio", "f0", "f0_stats.json")]
    job = stage.job(inputs, OUTPUT)
    delivery = Delivery(job, fit(module, batches, checks, Run.of(job, spec.loop, stage.tracker)))
    log_contours(stage, model, checks)
    delivery.save({"model": dataclasses.asdict(spec.model), "normalise": spec.normalise}, model=model)
    delivery.publish()


def log_contours(stage: Stage[Params], model: F0VQVAE, checks: Batches) -> None:
    """Log the first validation segments' F0 and its reconstruction, where matplotlib is installed."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        return
    f0 = checks.batch(0)["f0"][:3]
    model.cpu().eval()
    with torch.no_grad():
        f0_hat, _ = model(f0)
    figure = Figure(figsize=(10, 6), layout="constrained")
    for axis, target, made in zip(figure.subplots(len(f0), squeeze=False)[:, 0], f0[:, 0], f0_hat[:, 0], strict=True):
        axis.plot(target, label="normalised F0 (0 = unvoiced)")
        axis.plot(made, label="reconstruction")
        axis.set_xlabel("frame of 5 ms")
        axis.legend()
    stage.tracker.log_figure("f0_reconstruction.png", figure)


if __name__ == "__main__":
    stage_main("train_f0_vq", run, Params)
