"""The vocoder fine-tuned on the log-mels that an acoustic model predicts (van Niekerk et al. 2022, section 3.1).

In: ``audio`` and content of the variant's corpus, its acoustic model, and the vocoder to begin from, generator and
discriminators. Out: ``finetune_vocoder/<name>``, files as of ``train_vocoder``. The acoustic model first predicts
every utterance, running free, shard by shard; frames and samples then lie under each other, since content has no other
clock.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.softvc import AcousticModel
from models.softvc.mel import MEL
from models.softvc.vocoder_training import VocoderTraining
from respeak.systems.softvc.bundle import load_acoustic, load_vocoder
from speech.storage.shards import features_schema, shard_paths, write_shard, zip_shards
from stages.data.batches import validation_steps
from stages.data.extraction import batches as batches_by_length
from stages.data.other_encoder import make_part
from stages.data.utterances import UtteranceSet, WindowBatches
from stages.params.runtime import Common
from stages.params.softvc import FinetuneVariant, FinetuneVocoder
from stages.runtime.engine import pick_device
from stages.runtime.jobs import Job
from stages.runtime.stage import Stage, stage_main
from stages.training.delivery import Delivery
from stages.training.gan import loss_weights
from stages.training.run import Run
from stages.training.schedules import schedule
from stages.training.trainer import fit
from stages.training.validation_audio import log_examples

OUTPUT = Path("finetune_vocoder")
BATCH_UNITS = 16_000  # units of a padded batch: 320 s, whose encoder frames take 65 MB


@dataclass(frozen=True)
class Params(Common):
    """Sections of ``params.yaml`` that this stage reads."""

    seed: int
    finetune_vocoder: FinetuneVocoder


def run(stage: Stage[Params]) -> None:
    """Fine-tune one variant."""
    params, spec = stage.params, stage.params.finetune_vocoder
    name = stage.require_variant(list(spec.variants))
    variant = spec.variants[name]
    corpus = Path("data") / variant.corpus
    inputs = [corpus / "audio", corpus / variant.content, Path(variant.acoustic), Path(variant.vocoder)]
    job = stage.job(inputs, OUTPUT / name)
    mels = predict_mels(job, corpus, variant, params.runtime.device)
    generator, discriminators, config = load_vocoder(variant.vocoder)
    module = VocoderTraining(
        generator.train(),
        discriminators.train(),
        loss_weights(spec.loss),
        spec.adversarial_from_step,
        schedule(spec.optimiser),
        params.seed,
    )
    train, valid = (UtteranceSet.of(corpus, split, MEL, mels=mels) for split in ("train", "valid"))
    loop = spec.loop
    window = (loop.segment_samples, loop.batch_size, params.seed)
    batches = WindowBatches(train, *window, loop.steps)
    checks = WindowBatches(valid, *window, validation_steps(len(valid), loop.batch_size))
    delivery = Delivery(job, fit(module, batches, checks, Run.of(job, loop, stage.tracker)))
    whole = {**config, "acoustic": variant.acoustic, "finetuned_steps": loop.steps}
    log_examples(stage.tracker, module, checks.batch(0))
    delivery.save(whole, generator=module.generator, discriminators=module.discriminators)
    delivery.publish(curves=True)


def predict_mels(job: Job, corpus: Path, variant: FinetuneVariant, device: str) -> Path:
    """Predict a corpus's log-mels and return their folder, shards like the corpus's; made once, kept over a kill."""
    (job.scratch / "view").mkdir(parents=True, exist_ok=True)
    mels = job.scratch / "view" / "mels"
    work = functools.partial(predict_shard, variant=variant, device=device)
    tasks = {path.name: (path, corpus / variant.content / path.name) for path in shard_paths(corpus / "audio")}
    make_part(job, mels, tasks, work)
    return mels


def predict_shard(task: tuple[Path, Path], output: Path, variant: FinetuneVariant, device: str) -> dict[str, int]:
    """Predict log-mels ``(2 N, 128)`` of one shard's utterances, in its order; test utterances have none."""
    model, speakers = _acoustic(variant.acoustic, pick_device(device))
    column = "units" if variant.content == "units" else "features"
    columns = (["id", "speaker", "split"], ["id", column])
    rows: list[dict[str, Any]] = []
    contents: list[np.ndarray] = []
    for source, content in zip_shards(*task, columns=columns):
        contents.append(content[column] if source["split"] != "test" else content[column][:0])
        nothing = np.zeros((0, MEL.n_mels), np.float16)
        rows.append({"id": source["id"], "speaker": source["speaker"], "num_frames": 0, "features": nothing})
    chosen = [index for index, content in enumerate(contents) if len(content)]
    # The published norm depends on padding: such a model predicts one utterance at a time.
    size = BATCH_UNITS if model.mask_padding else 1
    for batch in batches_by_length([len(contents[index]) for index in chosen], size):
        numbers = [chosen[place] for place in batch]
        table = [speakers.index(rows[number]["speaker"]) for number in numbers]
        for number, mel in zip(numbers, predict_batch(model, [contents[n] for n in numbers], table), strict=True):
            rows[number] |= {"features": mel, "num_frames": len(mel)}
    write_shard(output, rows, features_schema(MEL.n_mels), {"stage": "finetune_vocoder", "hop": MEL.hop})
    return {"utterances": len(rows)}


def predict_batch(model: AcousticModel, contents: Sequence[np.ndarray], table: Sequence[int]) -> Iterator[np.ndarray]:
    """Predict log-mels ``(2 N, 128)`` of contents in voices, rows of the speaker table, in the same order."""
    place = next(model.parameters()).device
    tensors = [torch.from_numpy(np.array(content)) for content in contents]
    tensors = [t.long() if model.num_units else t.float() for t in tensors]
    padded = torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=float(model.num_units))
    lengths = torch.tensor([len(tensor) for tensor in tensors])
    mels = model.generate(padded.to(place), lengths.to(place), torch.tensor(table, device=place)).cpu().numpy()
    for mel, length in zip(mels, lengths.tolist(), strict=True):
        yield mel[: model.frames_per_unit * length]


@functools.cache
def _acoustic(folder: str, device: str) -> tuple[AcousticModel, list[str]]:
    """Load the acoustic model, once per worker process, and its voices."""
    model, config = load_acoustic(folder)
    return model.to(device).prepare(), config["speakers"]


if __name__ == "__main__":
    stage_main("finetune_vocoder", run, Params)
