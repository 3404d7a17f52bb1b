"""F0 of the training and target corpora to a trained F0 quantiser: ``train_f0_vq/``.

In: ``audio`` (speakers and splits only), ``f0`` and ``f0_stats.json`` of the corpora in roles ``train`` and ``target``.
Out: ``model.safetensors``, ``config.yaml`` (constructor arguments and normalisation) and ``history.csv``.
Source: Polyak et al. 2021, sections 2.1 and 3.1. Runs with only torch, lightning, pyarrow and safetensors installed.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from safetensors.torch import save_file

from models.resynthesis import F0VQVAE
from models.resynthesis.training import F0VQTraining
from speech.errors import UserError
from speech.storage.files import atomic_path, write_text
from stages.data.segments import Corpus, Segment, Segments, build_index
from stages.params.corpora import Roles
from stages.params.resynthesis import TrainF0VQ
from stages.params.runtime import Common
from stages.runtime.stage import Stage, stage_main
from stages.training import trainer

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
    torch.manual_seed(params.seed)
    model = F0VQVAE(**dataclasses.asdict(spec.model))
    segment = Segment(spec.loop.segment_samples, spec.normalise)
    if spec.loop.segment_samples // 80 % model.hop:
        raise UserError(f"params.yaml: train_f0_vq: segment_samples must be a multiple of {80 * model.hop}")
    names = dict.fromkeys([params.roles.train, params.roles.target])
    corpora = [Corpus(Path("data") / name, ("f0",)) for name in names]
    train = build_index(corpora, "train")
    speakers = train.speakers
    valid = build_index(corpora, "valid")

    inputs = [Path("data") / name / part for name in names for part in ("audio", "f0", "f0_stats.json")]
    job = stage.job(inputs, OUTPUT)
    size, loop = spec.loop.batch_size, spec.loop
    batches = functools.partial(Segments, train, segment, speakers, size, params.seed, loop.steps)
    checks = Segments(valid, segment, speakers, size, params.seed, trainer.validation_batches(valid, loop))
    module = F0VQTraining(model, spec.commit_weight, trainer.schedule(spec.optimiser), params.seed)
    history = trainer.train(stage, job, module, loop, batches, checks)
    _picture(stage, model, checks)
    with atomic_path(job.parts / "model.safetensors") as temporary:
        save_file({name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}, temporary)
    config = {"model": dataclasses.asdict(spec.model), "normalise": spec.normalise}
    write_text(job.parts / "config.yaml", yaml.safe_dump(config, sort_keys=True))
    trainer.write_history(job.parts / "history.csv", history)
    job.publish()


def _picture(stage: Stage[Params], model: F0VQVAE, checks: Segments) -> None:
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
