"""The acoustic model: soft units, discrete units or raw features to log-mels (van Niekerk et al. 2022, section 2.2).

In: ``audio`` and ``soft_units``, ``units`` or ``features`` of the variant's corpus; ``kmeans/`` for the number of
discrete units. Out: ``train_acoustic/<name>``: ``model.safetensors``, ``config.yaml`` (arguments of ``AcousticModel``,
content, voices) and ``history.csv``. Utterances are taken whole, in batches of similar length. Runs with only torch,
torchaudio, lightning, pyarrow and safetensors.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from models.softvc import MEL, AcousticModel
from models.softvc.acoustic_training import AcousticTraining
from speech.errors import UserError
from speech.storage.shards import shard_meta, shard_paths
from stages.data.batches import validation_steps
from stages.data.utterances import UtteranceBatches, UtteranceReader, UtteranceSet
from stages.params.runtime import Common
from stages.params.softvc import AcousticVariant, TrainAcoustic
from stages.runtime.stage import Stage, stage_main
from stages.training.delivery import Delivery
from stages.training.run import Run
from stages.training.schedules import schedule
from stages.training.trainer import fit
from stages.units import load_kmeans

OUTPUT = Path("train_acoustic")
KMEANS = Path("kmeans")


@dataclass(frozen=True)
class Params(Common):
    """Sections of ``params.yaml`` that this stage reads."""

    seed: int
    train_acoustic: TrainAcoustic


def run(stage: Stage[Params]) -> None:
    """Train one variant."""
    params, spec = stage.params, stage.params.train_acoustic
    name = stage.require_variant(list(spec.variants))
    variant = spec.variants[name]
    corpus = Path("data") / variant.corpus
    train, valid = (UtteranceSet.of(corpus, split, MEL, variant.content) for split in ("train", "valid"))
    speakers = voices(train, variant)
    arguments = model_arguments(params, train, len(speakers) if variant.speakers == "table" else 0)
    torch.manual_seed(params.seed)
    module = AcousticTraining(AcousticModel(**arguments), schedule(spec.optimiser), params.seed)
    job = stage.job([corpus / "audio", corpus / variant.content], OUTPUT / name)
    loop = spec.loop
    shape = (loop.batch_size, loop.segment_samples, arguments["num_units"], params.seed)
    batches = UtteranceBatches(train, speakers, *shape, loop.steps)
    checks = UtteranceBatches(valid, speakers, *shape, validation_steps(len(valid), loop.batch_size))
    delivery = Delivery(job, fit(module, batches, checks, Run.of(job, loop, stage.tracker)))
    log_mels(stage, module.model, checks)
    config = {
        "model": arguments,
        "content": variant.content,
        "corpus": variant.corpus,
        "speakers": speakers,
        "encoder": encoder_hash(train),
        "steps": loop.steps,
        "fingerprint": job.fingerprint,
    }
    delivery.save(config, model=module.model)
    delivery.publish(curves=True)


def voices(utterances: UtteranceSet, variant: AcousticVariant) -> list[str]:
    """Return the names of the voices, sorted: the rows of the speaker table.

    Raises:
        UserError: several, and no table to tell them apart.
    """
    speakers = utterances.index.speakers
    if variant.speakers == "one" and len(speakers) > 1:
        raise UserError(
            f"train_acoustic: {utterances.corpus} has {len(speakers)} speakers, and a model of one voice would mix "
            "them; set its variant's speakers to table, or name a corpus of one speaker"
        )
    return speakers


def model_arguments(params: Params, utterances: UtteranceSet, num_speakers: int) -> dict[str, Any]:
    """Return arguments of ``AcousticModel`` for a corpus's content."""
    spec = params.train_acoustic
    sizes = dataclasses.asdict(spec.model)
    content = UtteranceReader(utterances).content(0)
    num_units = 0
    if content.ndim == 1:
        num_units = int(load_kmeans(KMEANS)[1]["k"])
    else:
        sizes["unit_dim"] = content.shape[1]
    return {"num_units": num_units, "num_speakers": num_speakers, "mask_padding": spec.mask_padding, **sizes}


def encoder_hash(utterances: UtteranceSet) -> str:
    """Return the hash of the encoder that made a corpus's content; of units, that of their features."""
    folder = utterances.content
    assert folder is not None
    folder = utterances.corpus / "features" if folder.name == "units" else folder
    return shard_meta(shard_paths(folder)[0])["encoder"]


def log_mels(stage: Stage[Params], model: AcousticModel, checks: UtteranceBatches) -> None:
    """Log the first validation utterances' log-mels, recorded and predicted, where matplotlib is installed."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        return
    batch = {name: values[:2] for name, values in checks.batch(0).items()}
    predicted = model.cpu().eval().generate(batch["content"], batch["lengths"], batch["speaker"])
    figure = Figure(figsize=(10, 6), layout="constrained")
    axes = figure.subplots(len(predicted), 2, squeeze=False)
    for row, mels in zip(axes, zip(batch["mel"], predicted, strict=True), strict=True):
        for axis, mel, title in zip(row, mels, ("recording", "predicted"), strict=True):
            axis.imshow(mel.T, origin="lower", aspect="auto", vmin=-11.5, vmax=1.5)
            axis.set(title=title, xlabel="frame of 10 ms", ylabel="mel band")
    stage.tracker.log_figure("mel_recorded_and_predicted.png", figure)


if __name__ == "__main__":
    stage_main("train_acoustic", run, Params)
