"""The load of a stage on the machine, as series under MLflow's own names, which its page of system metrics shows.

``system/cpu_utilization_percentage`` and its like are of the whole machine; ``system/stage_memory_megabytes`` is of the
stage and its workers. A sample every ten seconds, rarer with time (a tenth of a second for each minute gone), so that
days of training do not fill the journal, and one at the end.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stages.tracking.tracker import Tracker

SECONDS = 10.0
SHARE = 1 / 600  # of the time gone, between two samples


@contextmanager
def watched(tracker: Tracker) -> Iterator[None]:
    """Sample while inside; without psutil (it comes with DVC, not with the training stages alone) nothing is."""
    try:
        sampler = Sampler()
    except ModuleNotFoundError:
        yield
        return
    began, ended = time.monotonic(), threading.Event()

    def watch() -> None:
        step = 0
        while True:
            last = ended.wait(max(SECONDS, (time.monotonic() - began) * SHARE))
            tracker.log_metrics({f"system/{name}": value for name, value in sampler.sample().items()}, step)
            step += 1
            if last:
                return

    thread = threading.Thread(target=watch, name="machine", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(SECONDS)


class Sampler:
    """A sampler that asks the machine; raises ModuleNotFoundError where psutil is not installed."""

    def __init__(self) -> None:
        import psutil

        self._psutil = psutil
        psutil.cpu_percent()  # the share since the last call: the first has nothing to compare with
        self._sent = psutil.net_io_counters()
        self._gpus = _gpus()

    def sample(self) -> dict[str, float]:
        """Return this moment's values; network since the beginning; memory in units of 10^6 bytes, as in MLflow."""
        memory, disk = self._psutil.virtual_memory(), self._psutil.disk_usage(os.sep)
        values = {
            "cpu_utilization_percentage": self._psutil.cpu_percent(),
            "system_memory_usage_megabytes": memory.used / 1e6,
            "system_memory_usage_percentage": memory.used / memory.total * 100,
            "disk_usage_percentage": disk.percent,
            "disk_usage_megabytes": disk.used / 1e6,
            "disk_available_megabytes": disk.free / 1e6,
            "stage_memory_megabytes": self._stage_memory() / 1e6,
        }
        if self._sent and (now := self._psutil.net_io_counters()):
            values["network_receive_megabytes"] = (now.bytes_recv - self._sent.bytes_recv) / 1e6
            values["network_transmit_megabytes"] = (now.bytes_sent - self._sent.bytes_sent) / 1e6
        for number, gpu in enumerate(self._gpus):
            values |= {f"gpu_{number}_{name}": value for name, value in _gpu_values(gpu).items()}
        return {name: round(value, 1) for name, value in values.items()}

    def _stage_memory(self) -> float:
        """Return bytes resident, of this process and of those below it; pages they share count in each."""
        own, total = self._psutil.Process(), 0.0
        for process in [own, *own.children(recursive=True)]:
            try:
                total += process.memory_info().rss
            except self._psutil.Error:  # it ended meanwhile
                continue
        return total


def _gpus() -> list[Any]:
    """Return handles of the GPUs; none without NVIDIA's library or its Python package."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # noqa: BLE001  whatever is missing of driver, library or package: then there is nothing to watch
        return []
    return [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]


def _gpu_values(handle: Any) -> dict[str, float]:
    import pynvml

    memory, rates = pynvml.nvmlDeviceGetMemoryInfo(handle), pynvml.nvmlDeviceGetUtilizationRates(handle)
    return {
        "memory_usage_megabytes": memory.used / 1e6,
        "memory_usage_percentage": memory.used / memory.total * 100,
        "utilization_percentage": float(rates.gpu),
    }
