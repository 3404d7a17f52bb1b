"""Executors of shard work: worker processes of this machine, or of a Dask cluster, one thread each."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

from speech.errors import UserError
from stages.params.runtime import Runtime
from stages.runtime.faults import LostError

# A task whose worker died runs again elsewhere this often; after that it is the task that kills workers.
RETRIES = 3
CONNECT_SECONDS = 30
# How OpenMP's threads wait for each other: asleep, since two busy neighbours make a two-thread job with default waiting
# 17 times slower; but not before ten thousand looks, since falling asleep after every small operation costs half the
# speed of training on idle cores (5.3 steps/s, 10.5 with this; beside two busy neighbours 3.1 and 2.7).
WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "10000"}


def limit_threads(threads: int) -> None:
    """Set the thread counts, and the way of waiting, that OpenMP, MKL and torch read when they are first imported."""
    os.environ.update(WAITING)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = str(threads)


def shun_proxies() -> None:
    """See that servers of this machine, MLflow's and Prefect's, are never asked through a proxy."""
    known = ",".join(os.environ.get(name, "") for name in ("NO_PROXY", "no_proxy")).split(",")
    hosts = dict.fromkeys([*(host for host in known if host), "127.0.0.1", "localhost"])
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = ",".join(hosts)


def open_executor(runtime: Runtime) -> Executor:
    """Open worker processes, one thread each, started from a clean server so that no lock or thread is inherited.

    ``RESPEAK_WORKERS`` is the share of the cores that a flow gives a stage while others run beside it. With
    ``runtime.cluster``, the address of a Dask scheduler, the cluster's workers do the work instead.

    Raises:
        LostError: the cluster is out of reach.
        UserError: ``distributed`` is not installed.
    """
    if runtime.cluster:
        return _Cluster(runtime.cluster)
    workers = int(os.environ.get("RESPEAK_WORKERS", runtime.workers))
    context = multiprocessing.get_context("forkserver")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)


def pick_device(name: str) -> str:
    """Return the device of this worker process: GPUs take turns among the workers.

    Raises:
        UserError: ``cuda`` where torch finds no GPU.
    """
    import torch

    count = torch.cuda.device_count() if name != "cpu" else 0
    if name == "cuda" and not count:
        raise UserError("runtime.device: cuda, but torch finds no GPU here; set it to cpu or auto")
    number = multiprocessing.current_process().name.rpartition("-")[2]
    return f"cuda:{(int(number) - 1 if number.isdigit() else 0) % count}" if count else "cpu"


def _start_worker() -> None:
    # Ctrl-C reaches the whole process group; the parent decides, so that a shard in progress is finished whole.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    limit_threads(1)


class _Cluster(Executor):
    """A Dask cluster as an executor. Workers see the project's folder on a disk they share with this machine."""

    def __init__(self, address: str) -> None:
        try:
            from distributed import Client
        except ModuleNotFoundError:
            raise UserError("runtime.cluster: needs Dask: pip install '.[cluster]'") from None
        try:
            self._client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:
            raise LostError(f"runtime.cluster: no Dask scheduler at {address} ({error})") from None
        self._executor = self._client.get_executor(pure=False, retries=RETRIES)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return self._executor.submit(_on_worker, str(Path.cwd()), fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._executor.shutdown(wait=wait and not cancel_futures)
        self._client.close()


def _on_worker(folder: str, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Do work in a cluster's worker: paths are the project's, threads one, before anything heavy is loaded."""
    limit_threads(1)
    os.chdir(folder)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return work(*args, **kwargs)
