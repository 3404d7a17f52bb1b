"""Processor cores shared among the stages that run side by side, never more than there are."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

SETTLE_SECONDS = 0.2  # after cores become free: stages that become ready thereby queue up before the first is served


class Cores:
    """A counter of free cores that serves the most urgent stage first."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._free = total
        self._waiting: dict[str, float] = {}
        self._condition = threading.Condition()
        self._settled = time.monotonic() + SETTLE_SECONDS

    def acquire(self, name: str, want: Callable[[], int], urgency: float, stopped: threading.Event) -> int:
        """Wait for ``want()`` cores (at most all of them); returns how many, or 0 when ``stopped`` was set."""
        with self._condition:
            self._waiting[name] = urgency
            try:
                while not stopped.is_set():
                    count = max(1, min(want(), self.total))
                    unsettled = self._settled - time.monotonic()
                    if unsettled <= 0 and self._next() == name and count <= self._free:
                        self._free -= count
                        return count
                    self._condition.wait(unsettled if unsettled > 0 else 0.5)
                return 0
            finally:
                del self._waiting[name]
                self._condition.notify_all()

    def release(self, count: int) -> None:
        """Give back what ``acquire`` returned."""
        with self._condition:
            self._free += count
            self._settled = time.monotonic() + SETTLE_SECONDS
            self._condition.notify_all()

    def _next(self) -> str:
        """Nobody overtakes: a stage that needs many cores would otherwise wait for ever."""
        return min(self._waiting, key=lambda name: (-self._waiting[name], name))


def available_cores() -> int:
    """Cores this process may use: its affinity, and the container's quota where there is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.is_file():
        limit, period = quota.read_text().split()
        if limit != "max":
            cores = min(cores, max(1, round(int(limit) / int(period))))
    return cores
