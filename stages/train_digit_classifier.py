"""The digit classifier: real training recordings of digits to a ResNeXt that judges digits (Xie et al. 2017).

In: ``audio`` of the variant's corpus, whose texts must be zero to nine. Out: ``train_digit_classifier/<name>``:
``model.safetensors``, ``config.yaml`` (its sizes), ``real.safetensors`` (what it makes of its training recordings),
``history.csv`` and ``metrics.json`` (accuracy on the test split).
Training places each recording at random within its second, so that nothing can be learnt from where a word begins.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from models.judges.resnext import DigitClassifier
from models.judges.training import DigitTraining
from respeak.judges.digit_judge import DigitJudge, save_classifier, save_real
from speech.judges.settings import Evaluate
from speech.metrics.bootstrap import ratio_interval
from speech.storage.files import write_json
from stages.data.digit_clips import ClipBatches, read_clips
from stages.params.digit_classifier import TrainDigitClassifier
from stages.params.runtime import Common
from stages.runtime.engine import pick_device
from stages.runtime.stage import Stage, stage_main
from stages.training.delivery import Delivery
from stages.training.run import Run
from stages.training.schedules import schedule
from stages.training.trainer import fit

OUTPUT = Path("train_digit_classifier")


@dataclass(frozen=True)
class Params(Common):
    """Sections of ``params.yaml`` that this stage reads."""

    seed: int
    evaluate: Evaluate
    train_digit_classifier: TrainDigitClassifier


def run(stage: Stage[Params]) -> None:
    """Train one variant."""
    params, spec = stage.params, stage.params.train_digit_classifier
    name = stage.require_variant(list(spec.variants))
    audio = Path("data") / spec.variants[name].corpus / "audio"
    train, valid, test = (read_clips(audio, split) for split in ("train", "valid", "test"))
    torch.manual_seed(params.seed)
    sizes, loop = dataclasses.asdict(spec.model), spec.loop
    module = DigitTraining(DigitClassifier(**sizes), schedule(spec.optimiser), params.seed)
    job = stage.job([audio], OUTPUT / name)
    batches = ClipBatches(train, loop.batch_size, params.seed, loop.steps)
    # Each once, in the middle of its second.
    checks = ClipBatches(valid, loop.batch_size, params.seed, -(-len(valid) // loop.batch_size), placed=False)
    delivery = Delivery(job, fit(module, batches, checks, Run.of(job, loop, stage.tracker)))
    save_classifier(delivery.folder, sizes, module.model)
    judge = DigitJudge(delivery.folder, pick_device(params.runtime.device))
    save_real(delivery.folder, judge([clip.wave for clip in train]))
    answers = judge([clip.wave for clip in test]).digits
    hits = (answers == [clip.digit for clip in test]).astype(np.float64)
    found = ratio_interval(hits, np.ones(len(hits)), params.evaluate.bootstrap, params.seed)
    bounds = {"test_accuracy": found.value, "test_accuracy_low": found.low, "test_accuracy_high": found.high}
    metrics = {name: 100 * value for name, value in bounds.items()}
    stage.tracker.log_metrics(metrics)
    write_json(delivery.folder / "metrics.json", {**metrics, "test_recordings": len(test)})
    delivery.publish()


if __name__ == "__main__":
    stage_main("train_digit_classifier", run, Params)
