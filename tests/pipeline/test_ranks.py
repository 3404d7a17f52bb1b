"""Two training processes that talk by gloo: what one process makes of the joint batch."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from models.resynthesis.f0_vq_training import F0VQTraining
from models.training import TrainingModule
from speech.errors import UserError
from stages.data.batches import Batches
from stages.training.run import Run, resume_point
from stages.training.trainer import fit
from tests.stages.test_training import LOOP, RUNTIME, Recorder, batch, f0_vq, resynthesis

STEPS = dataclasses.replace(LOOP, log_every=1, checkpoint_every=2)


class Shared(Batches):
    """The batches of the other tests, of which each process takes its items."""

    divisible = True

    def __init__(self, stop: int, start: int = 0, pause: float = 0.0) -> None:
        super().__init__(stop, start)
        self.pause = pause
        self.share(0, 1)

    def share(self, rank: int, world: int) -> None:
        self.rank, self.world = rank, world

    def batch(self, step: int) -> dict[str, Tensor]:
        time.sleep(self.pause)
        made = batch(step)
        # Equal items make equal codes, of which rounding says which is nearest.
        made["f0"] = made["f0"] * torch.tensor([1.0, 0.6]).view(2, 1, 1)
        return {name: value.chunk(self.world)[self.rank] for name, value in made.items()}


class Broken(Shared):
    """One process's numbers are none."""

    def batch(self, step: int) -> dict[str, Tensor]:
        made = super().batch(step)
        return {**made, "f0": made["f0"] * float("nan")} if self.rank else made


def train(module: TrainingModule, scratch: Path, processes: int, steps: int = 6, **options: Any) -> Any:
    batches = options.pop("batches", Shared)(steps, **options)
    loop = dataclasses.replace(STEPS, steps=steps, processes=processes)
    recorder = Recorder()
    return fit(module, batches, Shared(101, 100), Run(loop, RUNTIME, recorder, scratch)), recorder


@pytest.mark.parametrize("make", [f0_vq, resynthesis])
def test_two_processes_train_as_one_does_with_the_joint_batch(make: Any, tmp_path: Path) -> None:
    """That both hold the same bits, codebooks too, every checkpoint makes sure of (``require_agreement``)."""
    alone, together = make(), make()
    history, _ = train(alone, tmp_path / "alone", 1)
    shared, recorder = train(together, tmp_path / "together", 2)
    assert together.step == alone.step == 6
    assert [row["step"] for row in shared] == [row["step"] for row in history]
    for one, other in zip(history, shared, strict=True):
        for name in one:
            assert other[name] == pytest.approx(one[name], rel=1e-4, abs=1e-5), (one["step"], name)
    state = together.state_dict()
    for name, value in alone.state_dict().items():
        if "codebook" in name:
            torch.testing.assert_close(state[name], value, atol=1e-4, rtol=1e-3)
    assert [step for step, row in recorder.rows if "train/learning_rate" in row] == list(range(1, 7))


def test_a_signal_stops_both_after_a_checkpoint_to_go_on_from(tmp_path: Path) -> None:
    def stop_after_a_checkpoint() -> None:
        while resume_point(tmp_path).step == 0:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop_after_a_checkpoint, daemon=True).start()
    with pytest.raises(SystemExit) as stopped:
        train(f0_vq(), tmp_path, 2, steps=600, pause=0.05)
    assert stopped.value.code == 128 + signal.SIGTERM
    reached = resume_point(tmp_path).step
    assert 0 < reached < 600
    module = f0_vq()
    train(module, tmp_path, 1, steps=reached + 2)
    assert module.step == reached + 2


def test_what_a_process_says_and_what_cannot_be_shared_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="diverged at step 1"):
        train(f0_vq(), tmp_path, 2, batches=Broken)
    module: F0VQTraining = f0_vq()
    module.parallel = False
    with pytest.raises(UserError, match="for one process; set it to 1"):
        train(module, tmp_path, 2)
    with pytest.raises(ValueError, match="batch_size 2 does not divide among 3 processes"):
        dataclasses.replace(STEPS, processes=3)
