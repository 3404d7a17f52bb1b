"""Processor cores and GPUs, shared among the stages that run side by side, never more than there are.

Cores are counted here, in one process. GPUs are counted by locks of the machine, which every reproduction of a user's
takes, in whatever folder and with whatever Prefect server it runs, and which end with the process that holds them.
"""

from __future__ import annotations

import getpass
import os
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

NVIDIA = Path("/proc/driver/nvidia/gpus")
SETTLE_SECONDS = 0.05  # after cores become free: stages that become ready thereby queue up before the first is served


@dataclass(frozen=True)
class Grant:
    """A stage's share of the machine: so many cores, and a GPU where it wants one and there are any."""

    cores: int
    gpu: FileLock | None = None


class Cores:
    """A counter of free cores that serves the most urgent stage first."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._free = total
        self._waiting: dict[str, tuple[float, bool]] = {}
        self._condition = threading.Condition()
        self._settled = time.monotonic() + SETTLE_SECONDS

    def acquire(
        self, name: str, want: Callable[[], int], urgency: float, stopped: threading.Event, on_gpu: bool = False
    ) -> Grant | None:
        """Wait for ``want()`` cores (at most all), and a GPU; return None when ``stopped`` was set."""
        with self._condition:
            self._waiting[name] = urgency, on_gpu
            try:
                while not stopped.is_set():
                    unsettled = self._settled - time.monotonic()
                    if unsettled <= 0 and (grant := self._try(name, max(1, min(want(), self.total)))):
                        return grant
                    self._condition.wait(unsettled if unsettled > 0 else 0.5)
                return None
            finally:
                del self._waiting[name]
                self._condition.notify_all()

    def release(self, grant: Grant) -> None:
        """Give back what ``acquire`` returned."""
        with self._condition:
            self._free += grant.cores
            if grant.gpu:
                grant.gpu.release()
            self._settled = time.monotonic() + SETTLE_SECONDS
            self._condition.notify_all()

    def _try(self, name: str, count: int) -> Grant | None:
        gpu = take_gpu() if any(on_gpu for _, on_gpu in self._waiting.values()) else None
        on_gpu = self._waiting[name][1]
        if self._next(gpu is not None) == name and count <= self._free:
            self._free -= count
            if on_gpu:
                return Grant(count, gpu)
        else:
            count = 0
        if gpu:
            gpu.release()
        return Grant(count) if count else None

    def _next(self, free_gpu: bool) -> str | None:
        """Return whose turn it is: nobody overtakes, or a stage that needs many cores would wait for ever.

        A stage that lacks a GPU lets others pass.
        """
        able = [name for name, (_, on_gpu) in self._waiting.items() if free_gpu or not on_gpu]
        return min(able, key=lambda name: (-self._waiting[name][0], name), default=None)


def available_cores() -> int:
    """Return the cores this process may use: its affinity, and the container's quota where there is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.is_file():
        limit, period = quota.read_text().split()
        if limit != "max":
            cores = min(cores, max(1, round(int(limit) / int(period))))
    return cores


def gpus() -> list[str]:
    """Return names of the NVIDIA GPUs that this process may use, without the seconds that asking torch takes."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [device for device in map(str.strip, visible.split(",")) if device not in ("", "-1")]
    return [str(number) for number, _ in enumerate(NVIDIA.iterdir())] if NVIDIA.is_dir() else []


def take_gpu() -> FileLock | None:
    """Return a GPU that nobody works on, held until it is released; None where there is none."""
    folder = Path(tempfile.gettempdir()) / f"respeak-gpus-{getpass.getuser()}"
    folder.mkdir(exist_ok=True)
    for name in gpus():
        lock = FileLock(folder / f"{name}.lock", thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        return lock
    return None
