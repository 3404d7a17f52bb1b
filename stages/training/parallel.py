"""Training in several processes: started, followed, stopped and judged by the one that runs the stage."""

from __future__ import annotations

import copy
import dataclasses
import multiprocessing.connection
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from models.training import TrainingModule
from speech.errors import UserError
from stages.data.batches import Batches
from stages.runtime.faults import LostError
from stages.training.loop import fit_alone
from stages.training.run import Metrics, Run
from stages.training.signals import noted_signals

if TYPE_CHECKING:
    from multiprocessing.queues import SimpleQueue

    Messages = SimpleQueue[tuple[str, Any, Any]]

POLL_SECONDS = 0.2
# For the others to write what they were at, once one of them is gone.
GRACE_SECONDS = 20.0


def fit_together(module: TrainingModule, batches: Batches, checks: Batches, run: Run) -> None:
    """Train in ``run.loop.processes`` up to the last checkpoint, which holds what came of it.

    Processes talk by gloo, or by NCCL with a GPU for each. Arguments as of `fit`.

    Raises:
        UserError: this training is for one process, there are too few GPUs, or a process raised one.
        LostError: a process is gone.
        SystemExit: 128 + signal, when a signal asked to stop.
    """
    count = run.loop.processes
    if not (module.parallel and batches.divisible):
        raise UserError(f"params.yaml: processes {count}: this training is for one process; set it to 1")
    if on_gpus(run.runtime.device) and torch.cuda.device_count() < count:
        raise UserError(
            f"params.yaml: processes {count}: this machine has {torch.cuda.device_count()} GPU(s); train with "
            "fewer processes, or set runtime.device to cpu"
        )
    run.scratch.mkdir(parents=True, exist_ok=True)
    context = mp.get_context("spawn")
    meeting = run.scratch / f"meeting-{os.getpid()}"
    meeting.unlink(missing_ok=True)
    messages = context.SimpleQueue()
    # The tracker stays with the process that opened it.
    sent = (messages, meeting, module, batches, checks, dataclasses.replace(run, tracker=Silent()))
    processes = [context.Process(target=_train, args=(rank, *sent)) for rank in range(count)]
    try:
        for process in processes:
            process.start()
        _wait(processes, messages, run.tracker)
    finally:
        for process in [process for process in processes if process.pid is not None]:
            if process.is_alive():
                process.kill()
            process.join()
        meeting.unlink(missing_ok=True)


def on_gpus(device: str) -> bool:
    """Tell whether ``runtime.device`` means GPUs on this machine."""
    return device != "cpu" and torch.cuda.is_available()


class Relay:
    """Tracker of the first process: its series go to the one that runs the stage."""

    def __init__(self, messages: Messages) -> None:
        self.messages = messages

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Send series to the process that runs the stage."""
        self.messages.put(("metrics", metrics, step))


class Silent:
    """Tracker of the other processes, which logs nothing."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Leave it to the first process, whose series are the same."""


def _train(
    rank: int, messages: Messages, meeting: Path, module: TrainingModule, batches: Batches, checks: Batches, run: Run
) -> None:
    """Train as process ``rank``; what went wrong is sent before it ends."""
    count = run.loop.processes
    backend = "nccl" if on_gpus(run.runtime.device) else "gloo"
    if backend == "nccl":
        torch.cuda.set_device(rank)
    # What torch sends to a process lies in memory that all share: each needs weights of its own to step.
    module = copy.deepcopy(module)
    dist.init_process_group(backend, init_method=meeting.resolve().as_uri(), rank=rank, world_size=count)
    batches.share(rank, count)
    tracker: Metrics = Silent() if rank else Relay(messages)
    try:
        fit_alone(module, batches, checks, dataclasses.replace(run, tracker=tracker))
    except UserError as error:
        messages.put(("error", str(error), error.status))
        sys.exit(error.status)
    finally:
        sys.stdout.flush()
        if dist.is_initialized():
            dist.destroy_process_group()


def _wait(processes: list[Any], messages: Messages, tracker: Metrics) -> None:
    """Wait until all are done; the first that fails, or a signal, ends the others."""
    errors: list[str] = []
    deadline: float | None = None
    passed_on = False
    with noted_signals() as asked:
        while alive := [process for process in processes if process.is_alive()]:
            multiprocessing.connection.wait([process.sentinel for process in alive], POLL_SECONDS)
            _forward(messages, tracker, errors)
            if asked and not passed_on:
                passed_on = True
                for process in alive:
                    os.kill(process.pid, asked[0])
            failed = any(process.exitcode not in (0, None) for process in processes)
            if failed and deadline is None:
                deadline = time.monotonic() + GRACE_SECONDS
            if deadline is not None and time.monotonic() > deadline:
                break
        _forward(messages, tracker, errors)
    if errors:
        raise UserError(errors[0])
    if asked:
        raise SystemExit(128 + asked[0])
    if codes := [process.exitcode for process in processes if process.exitcode not in (0, None)]:
        what = f"signal {-codes[0]}" if codes[0] < 0 else f"exit status {codes[0]}"
        raise LostError(f"a training process is gone ({what}); run again to go on from the last checkpoint")


def _forward(messages: Messages, tracker: Metrics, errors: list[str]) -> None:
    """Give the series that have arrived to the tracker, and collect errors."""
    while not messages.empty():
        kind, what, more = messages.get()
        if kind == "metrics":
            tracker.log_metrics(what, more)
        else:
            errors.append(what)
