"""Processor cores, and GPUs, shared among the stages that run side by side, never more than there are."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

SETTLE_SECONDS = 0.05  # after cores become free: stages that become ready thereby queue up before the first is served


class Cores:
    """A counter of free cores, and of free GPUs, that serves the most urgent stage first."""

    def __init__(self, total: int, gpus: int = 0) -> None:
        self.total = total
        self._free = total
        self._free_gpus = gpus
        self._waiting: dict[str, tuple[float, bool]] = {}
        self._condition = threading.Condition()
        self._settled = time.monotonic() + SETTLE_SECONDS

    def acquire(
        self, name: str, want: Callable[[], int], urgency: float, stopped: threading.Event, on_gpu: bool = False
    ) -> int:
        """Wait for ``want()`` cores (at most all), and a GPU; returns how many cores, or 0 when ``stopped`` was set."""
        with self._condition:
            self._waiting[name] = urgency, on_gpu
            try:
                while not stopped.is_set():
                    count = max(1, min(want(), self.total))
                    unsettled = self._settled - time.monotonic()
                    if unsettled <= 0 and self._next() == name and count <= self._free:
                        self._free -= count
                        self._free_gpus -= on_gpu
                        return count
                    self._condition.wait(unsettled if unsettled > 0 else 0.5)
                return 0
            finally:
                del self._waiting[name]
                self._condition.notify_all()

    def release(self, count: int, on_gpu: bool = False) -> None:
        """Give back what ``acquire`` returned."""
        with self._condition:
            self._free += count
            self._free_gpus += on_gpu
            self._settled = time.monotonic() + SETTLE_SECONDS
            self._condition.notify_all()

    def _next(self) -> str | None:
        """Nobody overtakes, or a stage that needs many cores would wait for ever; one that lacks a GPU lets pass."""
        able = [name for name, (_, on_gpu) in self._waiting.items() if self._free_gpus or not on_gpu]
        return min(able, key=lambda name: (-self._waiting[name][0], name), default=None)


def available_cores() -> int:
    """Cores this process may use: its affinity, and the container's quota where there is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.is_file():
        limit, period = quota.read_text().split()
        if limit != "max":
            cores = min(cores, max(1, round(int(limit) / int(period))))
    return cores
