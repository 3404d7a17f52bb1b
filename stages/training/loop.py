"""The training loop by Lightning, in one process or each of several: checkpoints, series and progress."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
import torch

from models import distributed
from models.training import TrainingModule
from speech.errors import UserError
from speech.storage.files import atomic_path
from stages.data.batches import Batches, loader
from stages.training.run import CHECKPOINT, FORMAT, History, Resumed, Run, resume_point
from stages.training.signals import note_into, noted_signals


def fit_alone(module: TrainingModule, batches: Batches, checks: Batches, run: Run) -> History:
    """Do what `fit` promises in one process, or each of several; of those the first logs and writes."""
    loop, runtime, resumed = run.loop, run.runtime, resume_point(run.scratch)
    torch.set_num_threads(max(1, runtime.threads // distributed.world()))
    keeper = _Keeper(run, resumed)
    if resumed.step >= loop.steps:
        keeper.restore(module, None)
        return keeper.history
    on_gpu = runtime.device != "cpu" and torch.cuda.is_available()
    accelerator = "gpu" if runtime.device == "cuda" or on_gpu else "cpu"
    with _quiet(), noted_signals() as asked, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\..*")
        keeper.asked = asked
        trainer = L.Trainer(
            accelerator=accelerator,
            devices=[distributed.rank()] if on_gpu else 1,
            precision=loop.precision,
            max_epochs=1,
            max_steps=-1,
            val_check_interval=keeper.interval,
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            callbacks=[keeper],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, loader(batches.since(resumed.step), loop.workers), loader(checks, 0))
    return keeper.history


class _Keeper(L.Callback):
    """Keeper of one run's checkpoints, series and progress."""

    def __init__(self, run: Run, resumed: Resumed) -> None:
        self.run, self.loop, self.resumed = run, run.loop, resumed
        loop = run.loop
        self.interval = min(loop.validate_every, loop.steps - resumed.step)
        self.history: History = []
        self.asked: list[int] = []
        self.parent = os.getppid()
        self.leads = distributed.rank() == 0
        self.progress = _Progress(loop.steps, resumed.step, self.leads)

    def restore(self, module: TrainingModule, optimisers: list[torch.optim.Optimizer] | None) -> None:
        state = self.resumed.state
        if state is None:
            return
        module.load_state_dict(state["module"])
        for optimiser, saved in zip(optimisers or [], state["optimisers"], strict=optimisers is not None):
            optimiser.load_state_dict(saved)
        module.step = self.resumed.step
        self.history = [dict(row) for row in state["history"]]

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        assert isinstance(module, TrainingModule)
        # Lightning puts a handler before ours, and ends with status 0 and no checkpoint where it hears a signal first.
        note_into(self.asked)
        self.restore(module, trainer.optimizers)
        if self.resumed.step and self.leads:
            print(f"resuming after step {self.resumed.step}", flush=True)
            if self.run.notice:
                again = f"going on from step {self.resumed.step}; delete {self.run.scratch} to begin anew"
                print(f"{self.run.notice}; {again}", flush=True)

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        assert isinstance(module, TrainingModule)
        step = module.step
        self._agree_on_signals(module)
        if step % self.loop.log_every == 0 or step == self.loop.steps:
            means = distributed.mean(torch.stack([value.float() for value in module.metrics.values()]))
            values = dict(zip(module.metrics, means.tolist(), strict=True))
            values["train/learning_rate"] = module.schedule.rate(step - 1)
            self._log(step, values, {"train/steps_per_second": self.progress.rate(step)})
            self.progress.show(step, values)
            _stop_when_broken(values, step)
        if (step - self.resumed.step) % self.interval or self.asked:
            self._keep(trainer, module)

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        assert isinstance(module, TrainingModule)
        rows, module.validation = module.validation, []
        if rows:
            means = {name: float(torch.stack([row[name] for row in rows]).mean()) for name in rows[0]}
            self._log(module.step, means)
            self.progress.show(module.step, means)
        self._keep(trainer, module)

    def _agree_on_signals(self, module: TrainingModule) -> None:
        """Stop all processes after the same step when one got a signal, or when the one that started them is gone."""
        if distributed.world() == 1:
            return
        number = self.asked[0] if self.asked else signal.SIGTERM * (os.getppid() != self.parent)
        if number := distributed.largest(int(number), module.device):
            self.asked[:] = [number]

    def _log(self, step: int, values: dict[str, float], timings: dict[str, float] | None = None) -> None:
        """Log series; times are for the tracker alone, for a stage's output is the same whenever it is made."""
        self.run.tracker.log_metrics(values | (timings or {}), step)
        if self.history and self.history[-1]["step"] == step:
            self.history[-1].update(values)
        else:
            self.history.append({"step": step, **values})

    def _keep(self, trainer: L.Trainer, module: TrainingModule) -> None:
        if module.step % self.loop.checkpoint_every == 0 or module.step == self.loop.steps or self.asked:
            self._save(trainer, module)
        if self.asked and module.step < self.loop.steps:
            name = signal.Signals(self.asked[0]).name
            if self.leads:
                print(f"stopped by {name} after step {module.step}; run again to go on from there", flush=True)
            raise SystemExit(128 + self.asked[0])

    def _save(self, trainer: L.Trainer, module: TrainingModule) -> None:
        state = {
            "format": FORMAT,
            "step": module.step,
            "module": module.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in trainer.optimizers],
            "history": self.history,
        }
        distributed.require_agreement(module)
        if self.leads:
            with atomic_path(self.run.scratch / CHECKPOINT) as temporary:
                torch.save(state, temporary)


class _Progress:
    """Printer of one line per report: step, losses, steps per second, time left; rewritten in place on a terminal."""

    def __init__(self, steps: int, start: int, shown: bool) -> None:
        self.steps, self.start, self.shown, self.began = steps, start, shown, time.monotonic()
        self.end = "\r" if sys.stdout.isatty() else "\n"

    def rate(self, step: int) -> float:
        return (step - self.start) / max(time.monotonic() - self.began, 1e-9)

    def show(self, step: int, values: dict[str, float]) -> None:
        if not self.shown:
            return
        rate = self.rate(step)
        left = int((self.steps - step) / max(rate, 1e-9))
        shown = " ".join(f"{name.partition('/')[2]} {v:.4g}" for name, v in values.items() if "loss" in name)
        kind = "valid" if any(name.startswith("valid/") for name in values) else "train"
        eta = f"{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}"
        end = "\n" if kind == "valid" or step == self.steps else self.end
        print(f"step {step}/{self.steps} {kind} {shown} {rate:.2f} steps/s, {eta} left", end=end, flush=True)


def _stop_when_broken(values: dict[str, float], step: int) -> None:
    bad = [name for name, value in values.items() if value != value or abs(value) == float("inf")]
    if bad:
        raise UserError(f"training diverged at step {step} ({bad[0]} is not finite): lower optimiser.learning_rate")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's advertisements and device tables out of the stage's log."""
    loggers = [logging.getLogger(name) for name in ("lightning", "lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
