"""Training in several processes: started, heard, stopped and judged by the one that runs the stage."""

from __future__ import annotations

import copy
import multiprocessing.connection
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from models.training import TrainingModule
from speech.errors import UserError
from stages.runtime.faults import LostError
from stages.training.trainer import Metrics, fit_alone, resume_point, signals_heard

if TYPE_CHECKING:
    from stages.params.runtime import Runtime
    from stages.params.training import Loop

POLL_SECONDS = 0.2
# For the others to write what they were at, once one of them is gone.
GRACE_SECONDS = 20.0


def fit_together(
    module: TrainingModule,
    train: Iterable[Any],
    valid: Iterable[Any],
    loop: Loop,
    runtime: Runtime,
    tracker: Metrics,
    scratch: Path,
) -> None:
    """Train in ``loop.processes`` up to the last checkpoint, which holds what came of it.

    Processes talk by gloo, or by NCCL with a GPU for each. Arguments as in `fit`.

    Raises:
        UserError: this training is for one process, there are too few GPUs, or what a process says.
        LostError: a process is gone.
        SystemExit: 128 + signal, when a signal asked to stop.
    """
    if not module.parallel or not hasattr(getattr(train, "dataset", None), "share"):
        raise UserError(f"params.yaml: processes {loop.processes}: this training is for one process; set it to 1")
    if on_gpus(runtime.device) and torch.cuda.device_count() < loop.processes:
        raise UserError(
            f"params.yaml: processes {loop.processes}: this machine has {torch.cuda.device_count()} GPU(s); train with "
            "fewer processes, or set runtime.device to cpu"
        )
    scratch.mkdir(parents=True, exist_ok=True)
    context = mp.get_context("spawn")
    meeting = scratch / f"meeting-{os.getpid()}"
    meeting.unlink(missing_ok=True)
    said = context.SimpleQueue()
    arguments = (said, meeting, module, train, valid, loop, runtime, scratch)
    processes = [context.Process(target=_train, args=(rank, *arguments)) for rank in range(loop.processes)]
    try:
        for process in processes:
            process.start()
        _wait(processes, said, tracker)
    finally:
        for process in [process for process in processes if process.pid is not None]:
            if process.is_alive():
                process.kill()
            process.join()
        meeting.unlink(missing_ok=True)


def on_gpus(device: str) -> bool:
    """Whether ``runtime.device`` means GPUs on this machine."""
    return device != "cpu" and torch.cuda.is_available()


class Relay:
    """A tracker in the first process: its numbers go to the one that runs the stage."""

    def __init__(self, said: Any) -> None:
        self.said = said

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Send them."""
        self.said.put(("metrics", metrics, step))


class Silent:
    """A tracker in the other processes."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """The first process has said it."""


def _train(
    rank: int,
    said: Any,
    meeting: Path,
    module: TrainingModule,
    train: Any,
    valid: Any,
    loop: Loop,
    runtime: Runtime,
    scratch: Path,
) -> None:
    backend = "nccl" if on_gpus(runtime.device) else "gloo"
    if backend == "nccl":
        torch.cuda.set_device(rank)
    # What torch sends to a process lies in memory that all share: each needs weights of its own to step.
    module = copy.deepcopy(module)
    dist.init_process_group(backend, init_method=meeting.resolve().as_uri(), rank=rank, world_size=loop.processes)
    train.dataset.share(rank, loop.processes)
    tracker: Metrics = Silent() if rank else Relay(said)
    try:
        fit_alone(module, train, valid, loop, runtime, tracker, scratch, resume_point(scratch))
    except UserError as error:
        said.put(("error", str(error), error.status))
        sys.exit(error.status)
    finally:
        sys.stdout.flush()
        if dist.is_initialized():
            dist.destroy_process_group()


def _wait(processes: list[Any], said: Any, tracker: Metrics) -> None:
    """Until all are done; the first that fails, or a signal, ends the others."""
    errors: list[str] = []
    deadline: float | None = None
    told = False
    with signals_heard() as asked:
        while alive := [process for process in processes if process.is_alive()]:
            multiprocessing.connection.wait([process.sentinel for process in alive], POLL_SECONDS)
            _hear(said, tracker, errors)
            if asked and not told:
                told = True
                for process in alive:
                    os.kill(process.pid, asked[0])
            failed = any(process.exitcode not in (0, None) for process in processes)
            if failed and deadline is None:
                deadline = time.monotonic() + GRACE_SECONDS
            if deadline is not None and time.monotonic() > deadline:
                break
        _hear(said, tracker, errors)
    if errors:
        raise UserError(errors[0])
    if asked:
        raise SystemExit(128 + asked[0])
    if codes := [process.exitcode for process in processes if process.exitcode not in (0, None)]:
        what = f"signal {-codes[0]}" if codes[0] < 0 else f"exit status {codes[0]}"
        raise LostError(f"a training process is gone ({what}); run again to go on from the last checkpoint")


def _hear(said: Any, tracker: Metrics, errors: list[str]) -> None:
    while not said.empty():
        kind, what, more = said.get()
        if kind == "metrics":
            tracker.log_metrics(what, more)
        else:
            errors.append(what)
