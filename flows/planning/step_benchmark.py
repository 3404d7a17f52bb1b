"""The time that a trial takes here, and a training step's arithmetic and memory: a few calls of the real thing.

On this machine's GPU, in seconds; without one, in processor-seconds of one thread, which do not depend on what else
the machine does. A step is tried with one row first; the whole batch is tried where that is quick, else time,
arithmetic and activations are taken as so many times those of one row.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from stages.facts.trials import SpeedTrial, Step, StepTrial

BYTES_TRAINED = 16  # per weight: itself, its gradient, Adam's two moments, in float32
QUICK_SECONDS = 3.0  # a step that would take longer is not tried at its full batch


class _Alive:
    """Bytes that autograd holds for the backward pass, each storage once: now and at most."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self._holders: Counter[int] = Counter()

    def pack(self, tensor: Tensor) -> _Held:
        storage = tensor.untyped_storage()
        if not self._holders[storage.data_ptr()]:
            self.now += storage.nbytes()
            self.most = max(self.most, self.now)
        self._holders[storage.data_ptr()] += 1
        return _Held(tensor, self)

    def release(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        self._holders[storage.data_ptr()] -= 1
        if not self._holders[storage.data_ptr()]:
            self.now -= storage.nbytes()


class _Held:
    """A saved tensor; autograd drops it once the backward pass has used it."""

    def __init__(self, tensor: Tensor, alive: _Alive) -> None:
        self.tensor, self.alive = tensor, alive

    def __del__(self) -> None:
        self.alive.release(self.tensor)


def device() -> str:
    """Return where training would run here."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def time_speed(trial: SpeedTrial) -> float:
    """Return the seconds of audio that a piece of inference deals with per second."""
    call = trial.prepare(device())
    with torch.inference_mode():
        return trial.seconds / _timed(call)


def time_step(trial: StepTrial) -> Step:
    """Return what a training step takes."""
    module: Any = trial.module()
    module.to(device())
    optimisers = module.configure_optimizers()
    module.optimizers = lambda: optimisers  # what Lightning's trainer would do
    module.manual_backward = lambda loss: loss.backward()
    whole = trial.sizes.batch_size

    def once(rows: int) -> None:
        module.step = trial.step
        batch = {name: value.to(device()) for name, value in trial.batch(trial.sizes, rows).items()}
        module.training_step(batch, 0)

    rows = 1 if device() == "cpu" else whole
    seconds = _timed(lambda: once(rows))
    if rows < whole and seconds * whole < QUICK_SECONDS:
        rows = whole
        seconds = _timed(lambda: once(rows))
    alive, counter = _Alive(), FlopCounterMode(display=False)
    with counter, saved_tensors_hooks(alive.pack, lambda held: held.tensor):
        once(rows)
    times = whole / rows
    weights = sum(p.numel() for p in module.parameters())
    memory = alive.most * times + BYTES_TRAINED * weights
    return Step(seconds * times, counter.get_total_flops() * times, memory, weights)


def _timed(call: Callable[[], Any]) -> float:
    """Return the seconds of a call, as above: the least of a few, or of two that take long."""
    on_gpu = device() == "cuda"
    clock = time.perf_counter if on_gpu else time.process_time
    torch.set_num_threads(1)
    times: list[float] = []
    while len(times) < 2 or (len(times) < 5 and sum(times) < QUICK_SECONDS):
        start = clock()
        call()
        if on_gpu:
            torch.cuda.synchronize()
        times.append(clock() - start)
    return min(times)
