"""Soft units: the encoder in use, fine-tuned to predict discrete units (van Niekerk et al. 2022, section 2.1).

In: ``encoder/``, ``kmeans/``, and ``audio`` and ``units`` of the corpus in role ``train``. Out:
``train_soft_units/<name>``, an encoder whose features are soft units (``config.yaml``, ``model.safetensors``), and
``history.csv`` with the share of frames that it predicts right. HuBERT and wav2vec 2.0 are warm starts; of signal
features, which have no weights, a network of ``train_soft_units.model`` learns the same. Runs with only torch,
torchaudio, lightning, pyarrow and safetensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from models.encoders import build_encoder
from models.encoders.build import TRANSFORMERS
from models.encoders.soft import SoftHubert
from models.encoders.training import Masking
from models.softvc.soft_unit_training import SoftUnitTraining
from respeak.encoders.encoder_files import read_config
from respeak.encoders.loading import load_encoder, save_encoder
from stages.data.segments import Cut, training_and_validation
from stages.data.utterance_index import CorpusStreams
from stages.params.corpora import Roles
from stages.params.runtime import Common
from stages.params.softvc import SoftUnitsVariant, TrainSoftUnits
from stages.runtime.stage import Stage, stage_main
from stages.training.delivery import Delivery
from stages.training.run import Run
from stages.training.schedules import schedule
from stages.training.trainer import fit
from stages.units import load_kmeans

OUTPUT = Path("train_soft_units")
ENCODER = Path("encoder")
KMEANS = Path("kmeans")


@dataclass(frozen=True)
class Params(Common):
    """Sections of ``params.yaml`` that this stage reads."""

    seed: int
    roles: Roles
    train_soft_units: TrainSoftUnits


def run(stage: Stage[Params]) -> None:
    """Train one variant."""
    params, spec = stage.params, stage.params.train_soft_units
    name = stage.require_variant(list(spec.variants))
    corpus = Path("data") / params.roles.train
    centroids, kmeans = load_kmeans(KMEANS)
    options = model_options(params, len(centroids))
    module = build_module(params, options, spec.variants[name])
    job = stage.job([corpus / "audio", corpus / "units", ENCODER, KMEANS], OUTPUT / name)
    streams, cut = [CorpusStreams(corpus, ("audio", "units"))], Cut(spec.loop.segment_samples, "hz")
    batches, checks = training_and_validation(streams, cut, spec.loop, params.seed)
    delivery = Delivery(job, fit(module, batches, checks, Run.of(job, spec.loop, stage.tracker)))
    config = {"kind": "soft_hubert", "weights": "trained", "options": options, "seed": params.seed}
    save_encoder(delivery.folder, {**config, "units_of": kmeans["encoder"]}, module.model)
    delivery.publish(curves=True)


def model_options(params: Params, k: int) -> dict[str, Any]:
    """Return arguments of ``SoftHubert``: the network is that of the encoder in use, where it has one."""
    spec, encoder = params.train_soft_units, read_config(ENCODER)
    sizes = dict(encoder.get("options") or {}) if encoder["kind"] in TRANSFORMERS else dict(spec.model)
    return {"k": k, "label_dim": spec.label_dim, "temperature": spec.temperature, "hubert": sizes}


def build_module(params: Params, options: dict[str, Any], variant: SoftUnitsVariant) -> SoftUnitTraining:
    """Build the network, with the encoder's weights where it has any, and how it learns."""
    spec = params.train_soft_units
    model = build_encoder({"kind": "soft_hubert", "options": options, "seed": params.seed})
    assert isinstance(model, SoftHubert)
    encoder = load_encoder(ENCODER)
    if encoder.kind in TRANSFORMERS:
        model.network.encoder.load_state_dict(encoder.state_dict())
    masking = None if variant.alpha is None else Masking(spec.mask_starts, spec.mask_span)
    torch.manual_seed(params.seed)
    model.train().requires_grad_(True)
    return SoftUnitTraining(model, masking, variant.alpha or 0.0, schedule(spec.optimiser), params.seed)


if __name__ == "__main__":
    stage_main("train_soft_units", run, Params)
