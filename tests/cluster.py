"""A Dask cluster of two workers of one thread on this machine."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Cluster(NamedTuple):
    """A scheduler, its address, and its two workers."""

    address: str
    scheduler: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]]


@contextlib.contextmanager
def local_cluster(folder: Path, code: Path) -> Iterator[Cluster]:
    """Address of a scheduler, and its workers, which work in ``folder`` and import from ``code``."""
    environment = {**os.environ, "PYTHONPATH": str(code), "OMP_NUM_THREADS": "1"}
    start = functools.partial(subprocess.Popen, env=environment, cwd=folder, stderr=subprocess.DEVNULL)
    file = folder / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    options = ["--scheduler-file", str(file), "--no-dashboard"]
    scheduler = start([*dask, "scheduler", "--host", "127.0.0.1", "--port", "0", *options])
    one = ["--nthreads", "1", "--nworkers", "1", "--no-nanny"]
    workers = [start([*dask, "worker", *one, *options]) for _ in range(2)]
    try:
        yield Cluster(_address(file), scheduler, workers)
    finally:
        for process in [*workers, scheduler]:
            process.kill()
            process.wait()


def _address(file: Path) -> str:
    from distributed import Client

    deadline = time.monotonic() + 60
    while not file.is_file() and time.monotonic() < deadline:
        time.sleep(0.1)
    address = json.loads(file.read_text())["address"]
    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
    return str(address)
