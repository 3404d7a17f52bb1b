"""The vocoder goes on to learn the log-mels that an acoustic model says (van Niekerk et al. 2022, section 3.1).

In: ``audio`` and content of the variant's corpus, its acoustic model, and the vocoder to begin from, generator and
discriminators. Out: ``finetune_vocoder/<name>``, files as of ``train_vocoder``. The acoustic model first says every
utterance, running free, shard by shard; frames and samples then lie under each other, since content has no other clock.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.resynthesis.training import LossWeights
from models.softvc import AcousticModel
from models.softvc.mel import MEL
from models.softvc.vocoder_training import VocoderTraining
from respeak.systems.softvc.bundle import load_acoustic, load_vocoder, save_part
from speech.storage.shards import features_schema, shard_paths, write_shard, zip_shards
from stages.data.extraction import batches, pick_device
from stages.data.other_encoder import make_part
from stages.data.utterances import Utterances, Windows
from stages.params.runtime import Common
from stages.params.softvc import FinetuneVariant, FinetuneVocoder
from stages.runtime.jobs import Job
from stages.runtime.stage import Stage, stage_main
from stages.training import trainer
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
    mels = say(job, corpus, variant, params.runtime.device)
    generator, discriminators, config = load_vocoder(variant.vocoder)
    module = VocoderTraining(
        generator.train(),
        discriminators.train(),
        LossWeights(**dataclasses.asdict(spec.loss)),
        spec.adversarial_from_step,
        trainer.schedule(spec.optimiser),
        params.seed,
    )
    train, valid = (Utterances.of(corpus, split, mels=mels) for split in ("train", "valid"))
    loop = spec.loop
    window = (loop.segment_samples, loop.batch_size, params.seed)
    batches = functools.partial(Windows, train, *window, loop.steps)
    checks = Windows(valid, *window, trainer.validation_batches(valid, loop))
    history = trainer.train(stage, job, module, loop, batches, checks)
    whole = {**config, "acoustic": variant.acoustic, "finetuned_steps": loop.steps}
    log_examples(stage.tracker, module, checks.batch(0))
    states = {"generator": module.generator.state_dict(), "discriminators": module.discriminators.state_dict()}
    save_part(job.parts, whole, **states)
    trainer.write_history(job.parts / "history.csv", history)
    trainer.write_history(OUTPUT / f"{name}.csv", history)  # where `dvc plots` finds it
    job.publish()


def say(job: Job, corpus: Path, variant: FinetuneVariant, device: str) -> Path:
    """The folder of log-mels, shards like the corpus's; made once, kept over a kill."""
    (job.scratch / "view").mkdir(parents=True, exist_ok=True)
    mels = job.scratch / "view" / "mels"
    work = functools.partial(say_shard, variant=variant, device=device)
    tasks = {path.name: (path, corpus / variant.content / path.name) for path in shard_paths(corpus / "audio")}
    make_part(job, mels, tasks, work)
    return mels


def say_shard(task: tuple[Path, Path], output: Path, variant: FinetuneVariant, device: str) -> dict[str, int]:
    """Log-mels ``(2 N, 128)`` of one shard's utterances, in its order; test utterances have none."""
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
    # The published norm hears padding: such a model says one utterance at a time.
    size = BATCH_UNITS if model.mask_padding else 1
    for batch in batches([len(contents[index]) for index in chosen], size):
        numbers = [chosen[place] for place in batch]
        table = [speakers.index(rows[number]["speaker"]) for number in numbers]
        for number, mel in zip(numbers, say_batch(model, [contents[n] for n in numbers], table), strict=True):
            rows[number] |= {"features": mel, "num_frames": len(mel)}
    write_shard(output, rows, features_schema(MEL.n_mels), {"stage": "finetune_vocoder", "hop": MEL.hop})
    return {"utterances": len(rows)}


def say_batch(model: AcousticModel, contents: Sequence[np.ndarray], table: Sequence[int]) -> Iterator[np.ndarray]:
    """Log-mels ``(2 N, 128)`` of contents in voices, rows of the speaker table, in the same order."""
    place = next(model.parameters()).device
    tensors = [torch.from_numpy(np.array(content)) for content in contents]
    tensors = [t.long() if model.num_units else t.float() for t in tensors]
    padded = torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=float(model.num_units))
    lengths = torch.tensor([len(tensor) for tensor in tensors])
    said = model.generate(padded.to(place), lengths.to(place), torch.tensor(table, device=place)).cpu().numpy()
    for mel, length in zip(said, lengths.tolist(), strict=True):
        yield mel[: model.frames_per_unit * length]


@functools.cache
def _acoustic(folder: str, device: str) -> tuple[AcousticModel, list[str]]:
    """The acoustic model, once per worker process, and its voices."""
    model, config = load_acoustic(folder)
    return model.to(device).prepare(), config["speakers"]


if __name__ == "__main__":
    stage_main("finetune_vocoder", run, Params)
