from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from models.hifigan import Discriminators
from models.hifigan.training import LossWeights
from models.resynthesis import F0VQVAE, UnitGenerator
from models.resynthesis.f0_vq_training import F0VQTraining
from models.resynthesis.vocoder_training import ResynthesisTraining
from models.training import Schedule, TrainingModule
from speech.errors import UserError
from stages.data.batches import Batches
from stages.params.resynthesis import ResynthesisLoss
from stages.params.runtime import Runtime
from stages.params.training import Loop
from stages.training.delivery import write_history
from stages.training.gan import loss_weights
from stages.training.loop import _Keeper
from stages.training.run import CHECKPOINT, Run, resume_point
from stages.training.trainer import fit

LOOP = Loop(6, 2, 2560, 2, 3, 2, 0, "32-true")
RUNTIME = Runtime(1, 1, "cpu", 1.0, 0.0)
F0_VQ = {"codes": 4, "embedding_dim": 8, "width": 4, "depth": 1}


class Recorder:
    def __init__(self) -> None:
        self.rows: list[tuple[int | None, dict[str, float]]] = []

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.rows.append((step, dict(metrics)))


def resynthesis() -> ResynthesisTraining:
    torch.manual_seed(0)
    generator = UnitGenerator(5, 2, 8, F0_VQ, 32, resblock_kernels=[3], resblock_dilations=[[1]])
    discriminators = Discriminators(0.0625, [2], 1)
    return ResynthesisTraining(generator, discriminators, LossWeights(stft=1.0), 3, Schedule(decay_steps=2), 1)


def with_durations() -> ResynthesisTraining:
    torch.manual_seed(0)
    generator = UnitGenerator(5, 2, 8, F0_VQ, 32, resblock_kernels=[3], resblock_dilations=[[1]], durations=True)
    return ResynthesisTraining(generator, Discriminators(0.0625, [2], 1), LossWeights(), 9, Schedule(), 1)


def f0_vq() -> F0VQTraining:
    torch.manual_seed(0)
    return F0VQTraining(F0VQVAE(**F0_VQ), 0.02, Schedule(), 1)


def batch(step: int) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(step)
    return {
        "audio": torch.rand(2, 1, 2560, generator=rng) - 0.5,
        "units": torch.randint(5, (2, 8), generator=rng),
        "f0": torch.randn(2, 1, 1, generator=rng).sign().expand(2, 1, 32).clone(),
        "speaker": torch.tensor([0, 1]),
    }


class Noise(Batches):
    """The batches above, with a signal before one of them."""

    def __init__(self, stop: int, start: int = 0, interrupt_at: int | None = None) -> None:
        super().__init__(stop, start)
        self.interrupt_at = interrupt_at

    def batch(self, step: int) -> dict[str, Tensor]:
        if step == self.interrupt_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return batch(step)


def train(module: TrainingModule, scratch: Path, loop: Loop = LOOP, interrupt_at: int | None = None) -> Any:
    recorder = Recorder()
    batches = Noise(loop.steps, interrupt_at=interrupt_at)
    return fit(module, batches, Noise(101, 100), Run(loop, RUNTIME, recorder, scratch)), recorder


@pytest.mark.parametrize("make", [resynthesis, with_durations, f0_vq])
def test_killed_and_resumed_equals_unbroken(make: Any, tmp_path: Path) -> None:
    whole, broken = make(), make()
    history, _ = train(whole, tmp_path / "whole")
    with pytest.raises(SystemExit) as stopped:
        train(broken, tmp_path / "broken", interrupt_at=4)
    assert stopped.value.code == 128 + signal.SIGTERM
    again = make()
    for parameter in again.parameters():
        parameter.data.zero_()
    resumed_history, _ = train(again, tmp_path / "broken")
    assert again.step == whole.step == LOOP.steps
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    for one, other in zip(history, resumed_history, strict=True):
        assert one == other


def test_a_signal_after_the_end_of_a_step_is_obeyed_after_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning looks for signals of its own there, and would end with status 0."""
    keep = _Keeper._keep

    def keep_and_hear(self: _Keeper, *given: Any) -> None:
        keep(self, *given)
        if given[1].step == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(_Keeper, "_keep", keep_and_hear)
    with pytest.raises(SystemExit) as stopped:
        train(f0_vq(), tmp_path)
    assert stopped.value.code == 128 + signal.SIGTERM
    assert resume_point(tmp_path).step == 5


def test_warm_up_leaves_discriminators_alone(tmp_path: Path) -> None:
    module = resynthesis()
    before = {name: value.clone() for name, value in module.discriminators.state_dict().items()}
    _, recorder = train(module, tmp_path, dataclasses.replace(LOOP, steps=3, validate_every=3))
    assert all(torch.equal(before[name], value) for name, value in module.discriminators.state_dict().items())
    assert not any("train/loss_discriminator" in row for _, row in recorder.rows)


def test_series_have_true_steps(tmp_path: Path) -> None:
    _, recorder = train(resynthesis(), tmp_path)
    assert [step for step, row in recorder.rows if "train/loss_mel" in row] == [2, 4, 6]
    assert [step for step, row in recorder.rows if "valid/loss_mel" in row] == [3, 6]
    adversarial = [step for step, row in recorder.rows if "train/loss_discriminator" in row]
    assert adversarial == [4, 6]
    rates = {step: row["train/learning_rate"] for step, row in recorder.rows if "train/learning_rate" in row}
    assert rates[6] == pytest.approx(2e-4 * 0.999**2)


def test_durations_are_trained_and_judged(tmp_path: Path) -> None:
    module = with_durations()
    before = module.generator.durations.proj.weight.clone()
    _, recorder = train(module, tmp_path)
    assert not torch.equal(module.generator.durations.proj.weight, before)
    rows = [row for _, row in recorder.rows]
    assert any("train/loss_duration" in row for row in rows)
    assert all(0 <= row["valid/l1_duration"] < 9 for row in rows if "valid/loss_mel" in row)


def test_training_learns(tmp_path: Path) -> None:
    module = f0_vq()
    module.schedule = Schedule(learning_rate=5e-3)
    history, _ = train(
        module, tmp_path, dataclasses.replace(LOOP, steps=200, log_every=20, validate_every=200, checkpoint_every=200)
    )
    losses = [row["train/loss_f0"] for row in history if "train/loss_f0" in row]
    assert losses[-1] < 0.5 * losses[0]


def test_finished_training_is_not_repeated(tmp_path: Path) -> None:
    first, second = f0_vq(), f0_vq()
    train(first, tmp_path)
    _, recorder = train(second, tmp_path)
    assert recorder.rows == []
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_damaged_checkpoint_and_divergence_are_user_errors(tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT).write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match="damaged checkpoint"):
        resume_point(tmp_path)
    module = f0_vq()
    next(module.parameters()).data.fill_(float("nan"))
    with pytest.raises(UserError, match="diverged at step 2"):
        train(module, tmp_path / "other")


def test_a_checkpoint_of_another_format_is_refused(tmp_path: Path) -> None:
    torch.save({"format": 1, "step": 2}, tmp_path / CHECKPOINT)
    with pytest.raises(UserError, match="checkpoint of format 1, this version reads 2; delete it to start over"):
        resume_point(tmp_path)


def test_speeds_are_for_the_tracker_alone(tmp_path: Path) -> None:
    history, recorder = train(f0_vq(), tmp_path)
    assert sum("train/steps_per_second" in row for _, row in recorder.rows) == 3
    assert {name for row in history for name in row} == {
        "step",
        "train/code_entropy",
        "train/learning_rate",
        "train/loss_commit",
        "train/loss_f0",
        "valid/l1_voiced",
        "valid/loss_f0",
    }


def test_losses_that_a_system_adds_keep_their_weights() -> None:
    weights = loss_weights(ResynthesisLoss(mel=1.0, feature=2.0, stft=3.0, floor=4.0, duration=5.0))
    assert weights == LossWeights(1.0, 2.0, 3.0, 4.0, {"duration": 5.0})


def test_history_is_one_table(tmp_path: Path) -> None:
    write_history(tmp_path / "history.csv", [{"step": 2, "a": 1.0}, {"step": 4, "b": 0.5}])
    assert (tmp_path / "history.csv").read_text() == "step,a,b\n2,1,\n4,,0.5\n"
