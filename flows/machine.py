"""Processor cores and GPUs of this machine.

GPUs are counted by locks of the machine, which every reproduction of a user's takes, in whatever folder and with
whatever Prefect server it runs, and which end with the process that holds them.
"""

from __future__ import annotations

import getpass
import os
import tempfile
from pathlib import Path

from filelock import FileLock, Timeout

NVIDIA = Path("/proc/driver/nvidia/gpus")


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
