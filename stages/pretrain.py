"""A HuBERT of any width, pretrained on the encoder corpus by predicting the clusters of hidden frames.

In: ``data/<corpus>/audio`` and, but for an iteration taught by signal features, the encoder of the iteration before.
Out: ``pretrain/<iteration>``, an encoder (``config.yaml``, ``model.safetensors``) that ``encoder.path`` can name, and
``history.csv`` of masked and unmasked losses and accuracies. Each iteration clusters its teacher's frames by k-means
over the training split, labels every recording, and trains (Hsu et al. 2021, sections II and IV-B). Killed, it goes on
from its last finished shard or checkpoint. Runs with only torch, torchaudio, lightning, pyarrow and safetensors.
"""

from __future__ import annotations

import dataclasses
import functools
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch

from models.encoders import build_encoder
from models.encoders.hubert import Hubert
from models.encoders.prediction import MaskedPrediction
from models.encoders.training import HubertTraining, LinearSchedule, Masking
from respeak.encoders.encoder_files import read_config
from respeak.encoders.loading import load_encoder, save_encoder
from speech.errors import UserError
from speech.storage.shards import shard_paths
from stages import kmeans
from stages.data.extraction import Extraction
from stages.data.other_encoder import make_features, make_part, open_view
from stages.data.segments import Cut, training_and_validation
from stages.data.utterance_index import CorpusStreams
from stages.params.corpora import Roles
from stages.params.features import Features
from stages.params.kmeans import KMeans
from stages.params.pretrain import Pretrain, PretrainIteration
from stages.params.runtime import Common
from stages.runtime.jobs import Job
from stages.runtime.stage import Stage, stage_main
from stages.training.delivery import Delivery
from stages.training.run import Run
from stages.training.schedules import schedule
from stages.training.trainer import fit
from stages.units import encode_shard, load_kmeans, quantise_shard, speaker_normalisers

OUTPUT = Path("pretrain")


@dataclass(frozen=True)
class Params(Common):
    """Sections of ``params.yaml`` that this stage reads."""

    seed: int
    roles: Roles
    features: Annotated[Features, "how a teacher is run, not what it teaches"]
    pretrain: Pretrain


def run(stage: Stage[Params]) -> None:
    """Label the corpus and train one iteration."""
    spec = stage.params.pretrain
    name = stage.require_variant(list(spec.iterations))
    iteration, corpus = spec.iterations[name], Path("data") / stage.params.roles.encoder
    job = stage.job([corpus / "audio", Path(iteration.path)], OUTPUT / name)
    teacher = prepare_teacher(job.scratch / "teacher", iteration)
    view = label(stage, job, corpus, teacher, iteration)
    module, delivery = train(stage, job, view, teacher, iteration)
    config = {"kind": "hubert", "weights": "pretrained", "options": dict(spec.model), "seed": stage.params.seed}
    save_encoder(delivery.folder, config, module.model.encoder)
    delivery.publish(curves=True)


def prepare_teacher(directory: Path, iteration: PretrainIteration) -> Path:
    """Write the teacher as an encoder's folder, set to the iteration's layer."""
    if iteration.teacher != "hubert":
        config: dict[str, Any] = {"kind": iteration.teacher, "weights": "none", "options": {}}
        save_encoder(directory, config, build_encoder(config))
        return directory
    config = read_config(iteration.path)
    if not 1 <= iteration.layer <= config["num_layers"]:
        raise UserError(f"params.yaml: pretrain.iterations: {iteration.path} has no layer {iteration.layer}")
    encoder = load_encoder(iteration.path)
    encoder.layer = iteration.layer
    save_encoder(directory, config, encoder)
    return directory


def label(stage: Stage[Params], job: Job, corpus: Path, teacher: Path, iteration: PretrainIteration) -> Path:
    """Make a view of the corpus with the teacher's clusters as ``units``; its frames are not kept."""
    view, clusters = open_view(job.scratch / "view", corpus), stage.params.pretrain.clusters
    if (view / "units").is_dir():
        return view
    extraction = Extraction.of(stage.params.features, teacher, stage.params.runtime.device)
    make_features(job, view, extraction, clusters.keep)
    centroids, mode = fit_clusters(stage, view, teacher, iteration), clusters.normalise
    shards = shard_paths(view / "audio")
    if clusters.keep < 1:
        work = functools.partial(encode_shard, extraction=extraction, centroids=centroids, mode=mode)
        make_part(job, view / "units", {path.name: path for path in shards}, work)
    else:
        speakers = speaker_normalisers(view / "features") if mode == "speaker" else {}
        tasks = {path.name: (view / "features" / path.name, path, speakers) for path in shards}
        make_part(job, view / "units", tasks, functools.partial(quantise_shard, centroids=centroids, mode=mode))
    shutil.rmtree(view / "features")
    return view


def fit_clusters(stage: Stage[Params], view: Path, teacher: Path, iteration: PretrainIteration) -> Any:
    """Fit the teacher's training frames: centroids ``(K, D)``, kept from an earlier try if there was one."""
    folder = view / "kmeans"
    if not (folder / "config.yaml").is_file():
        spec = dataclasses.asdict(stage.params.pretrain.clusters)
        del spec["keep"]
        settings = KMeans(source="fit", path="", sha256=None, k=iteration.k, **spec)
        count, speakers = kmeans.survey(view)
        kmeans.check_size(settings, count, view)
        frames = kmeans.Frames(view, settings.normalise, speakers if settings.normalise == "speaker" else {})
        device = stage.params.runtime.device
        centroids = kmeans.fit(frames, count, settings, stage.params.seed, stage.tracker, device)
        known = {"k": iteration.k, "dim": centroids.shape[1], "normalise": settings.normalise}
        kmeans.save(folder, centroids, {**known, "encoder": read_config(teacher)["hash"]})
    return load_kmeans(folder)[0]


def train(
    stage: Stage[Params], job: Job, view: Path, teacher: Path, iteration: PretrainIteration
) -> tuple[HubertTraining, Delivery]:
    """Train by masked prediction of the view's ``units``."""
    params, spec = stage.params, stage.params.pretrain
    loop = dataclasses.replace(spec.loop, steps=iteration.steps)
    module = build_module(params, iteration, teacher)
    streams, cut = [CorpusStreams(view, ("audio", "units"))], Cut(loop.segment_samples, "hz")
    batches, checks = training_and_validation(streams, cut, loop, params.seed)
    return module, Delivery(job, fit(module, batches, checks, Run.of(job, loop, stage.tracker)))


def build_module(params: Params, iteration: PretrainIteration, teacher: Path) -> HubertTraining:
    """Build the network with its head, new or from the teacher's weights, and how it learns."""
    spec = params.pretrain
    torch.manual_seed(params.seed)
    layers = int(spec.model.get("layers", 12))
    encoder = build_encoder({"kind": "hubert", "layer": layers, "options": spec.model, "seed": params.seed})
    assert isinstance(encoder, Hubert)
    if iteration.warm_start:
        _copy_weights(encoder, load_encoder(teacher), iteration.path)
    model = MaskedPrediction(encoder.train().requires_grad_(True), iteration.k, spec.label_dim, spec.temperature)
    plain = schedule(spec.optimiser)
    rates = LinearSchedule(
        plain.learning_rate, plain.betas, plain.weight_decay, steps=iteration.steps, warmup=spec.warmup
    )
    masking = Masking(spec.mask_starts, spec.mask_span)
    return HubertTraining(model, masking, spec.unmasked_weight, rates, params.seed)


def _copy_weights(encoder: torch.nn.Module, teacher: torch.nn.Module, path: str) -> None:
    try:
        encoder.load_state_dict(teacher.state_dict())
    except RuntimeError:
        raise UserError(
            f"params.yaml: pretrain.iterations: warm_start needs a teacher of the same sizes; {path} differs"
        ) from None


if __name__ == "__main__":
    stage_main("pretrain", run, Params)
