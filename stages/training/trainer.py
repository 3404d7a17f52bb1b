"""Lightning glue of the training stages: one ``fit`` with true steps, checkpoints, resuming, series and progress."""

from __future__ import annotations

import csv
import io
import os
import pickle
import signal
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import lightning as L
import torch

from models import distributed
from models.training import Schedule, TrainingModule
from speech.errors import UserError
from speech.storage.files import atomic_path, write_text
from stages.data.segments import loader
from stages.params.training import Loop, Optimiser
from stages.runtime.jobs import CHECKPOINT

if TYPE_CHECKING:
    from torch.utils.data import IterableDataset

    from stages.params.runtime import Runtime
    from stages.runtime.jobs import Job
    from stages.runtime.stage import Stage

FORMAT = 1
VALIDATION_UTTERANCES = 64
History = list[dict[str, float]]


class Metrics(Protocol):
    """The part of the tracker that training needs."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Record series at a true step."""


class Batches(Protocol):
    """Makes a run's training batches from a step on, for it may be that of a checkpoint."""

    def __call__(self, *, start: int) -> IterableDataset:
        """Batches ``start`` to the last."""


@dataclass(frozen=True)
class Resumed:
    """Where a run starts: the step to take next, and the checkpoint to take it from."""

    step: int
    state: dict[str, Any] | None


def resume_point(scratch: Path) -> Resumed:
    """The last checkpoint in ``scratch``; step 0 when there is none.

    Raises:
        UserError: the checkpoint is damaged.
    """
    path = scratch / CHECKPOINT
    if not path.is_file():
        return Resumed(0, None)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise UserError(
            f"{path}: damaged checkpoint ({str(error).splitlines()[0][:80]}); delete it to start over"
        ) from None
    return Resumed(int(state["step"]), state)


def train(
    stage: Stage, job: Job, module: TrainingModule, loop: Loop, batches: Batches, checks: IterableDataset
) -> History:
    """What every training stage does with its module: go on from the job's last checkpoint, if any, to the end.

    ``checks`` are the batches of one validation. Returns and raises as `resume_point` and `fit`.
    """
    resumed = resume_point(job.scratch)
    job.note_code(resumed.step)
    loaders = loader(batches(start=resumed.step), loop.workers), loader(checks, 0)
    return fit(module, *loaders, loop, stage.params.runtime, stage.tracker, job.scratch, resumed)


def fit(
    module: TrainingModule,
    train: Iterable[Any],
    valid: Iterable[Any],
    loop: Loop,
    runtime: Runtime,
    tracker: Metrics,
    scratch: Path,
    resumed: Resumed,
) -> History:
    """Train up to ``loop.steps`` true steps and return the logged rows, one per ``log_every`` and per validation.

    ``train`` yields the batches from ``resumed.step`` on and ends at ``loop.steps``. A checkpoint is written whole
    every ``checkpoint_every`` steps, and on SIGINT and SIGTERM before leaving.

    Raises:
        SystemExit: 128 + signal, after the step under way, when a signal asked to stop.
        UserError: training diverged, or cannot be shared among ``loop.processes``.
    """
    if loop.processes > 1 and resumed.step < loop.steps:
        from stages.training.parallel import fit_together

        fit_together(module, train, valid, loop, runtime, tracker, scratch)
        resumed = resume_point(scratch)
    return fit_alone(module, train, valid, loop, runtime, tracker, scratch, resumed)


def fit_alone(
    module: TrainingModule,
    train: Iterable[Any],
    valid: Iterable[Any],
    loop: Loop,
    runtime: Runtime,
    tracker: Metrics,
    scratch: Path,
    resumed: Resumed,
) -> History:
    """What `fit` does in one process, or each of several; of those the first logs and writes."""
    torch.set_num_threads(max(1, runtime.threads // distributed.world()))
    keeper = _Keeper(loop, tracker, scratch, resumed)
    if resumed.step >= loop.steps:
        keeper.restore(module, None)
        return keeper.history
    on_gpu = runtime.device != "cpu" and torch.cuda.is_available()
    accelerator = "gpu" if runtime.device == "cuda" or on_gpu else "cpu"
    with _quiet(), signals_heard() as asked, warnings.catch_warnings():
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
        trainer.fit(module, train, valid)
    return keeper.history


def schedule(optimiser: Optimiser) -> Schedule:
    """The optimiser section of params as a schedule."""
    betas = (optimiser.betas[0], optimiser.betas[1])
    return Schedule(
        optimiser.learning_rate, betas, optimiser.weight_decay, optimiser.lr_decay, optimiser.lr_decay_steps
    )


def validation_batches(index: Sized, loop: Loop) -> int:
    """Batches of one validation: every utterance once, up to 64 of them."""
    return -(-min(len(index), VALIDATION_UTTERANCES) // loop.batch_size)


def write_history(path: Path, history: History) -> None:
    """Logged rows as CSV, one column per series, empty where a row lacks it."""
    names = sorted({name for row in history for name in row} - {"step"})
    text = io.StringIO()
    writer = csv.DictWriter(text, ["step", *names], lineterminator="\n")
    writer.writeheader()
    for row in history:
        writer.writerow({name: f"{value:.6g}" for name, value in row.items()} | {"step": int(row["step"])})
    write_text(path, text.getvalue())


class _Keeper(L.Callback):
    """Keeps checkpoints, series and progress of one run."""

    def __init__(self, loop: Loop, tracker: Metrics, scratch: Path, resumed: Resumed) -> None:
        self.loop, self.tracker, self.scratch, self.resumed = loop, tracker, scratch, resumed
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
        self.restore(module, trainer.optimizers)
        if self.resumed.step and self.leads:
            print(f"resuming after step {self.resumed.step}", flush=True)

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        assert isinstance(module, TrainingModule)
        step = module.step
        self._hear_each_other(module)
        if step % self.loop.log_every == 0 or step == self.loop.steps:
            means = distributed.mean(torch.stack([value.float() for value in module.metrics.values()]))
            values = dict(zip(module.metrics, means.tolist(), strict=True))
            values["train/learning_rate"] = module.schedule.rate(step - 1)
            values["train/steps_per_second"] = self.progress.rate(step)
            self._log(step, values)
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

    def _hear_each_other(self, module: TrainingModule) -> None:
        """A signal that one process heard stops all after the same step, and none outlives the one that made it."""
        if distributed.world() == 1:
            return
        heard = self.asked[0] if self.asked else signal.SIGTERM * (os.getppid() != self.parent)
        if heard := distributed.largest(int(heard), module.device):
            self.asked[:] = [heard]

    def _log(self, step: int, values: dict[str, float]) -> None:
        self.tracker.log_metrics(values, step)
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
            with atomic_path(self.scratch / CHECKPOINT) as temporary:
                torch.save(state, temporary)


class _Progress:
    """One line per report: step, losses, steps per second, time left. Rewritten in place on a terminal."""

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
def signals_heard() -> Iterator[list[int]]:
    """Signals received while inside: noted, not obeyed, so that the step under way ends and is checkpointed."""
    asked: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, lambda received, _: asked.append(received))
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's advertisements and device tables out of the stage's log."""
    import logging

    loggers = [logging.getLogger(name) for name in ("lightning", "lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
