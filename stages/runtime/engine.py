"""Where shard work runs: an executor of worker processes, each with the threads it was given and no more."""

from __future__ import annotations

import multiprocessing
import os
import signal
from concurrent.futures import Executor, ProcessPoolExecutor

from stages.runtime.params import Runtime


def limit_threads(threads: int) -> None:
    """Set the thread counts that OpenMP, MKL and torch read when they are first imported.

    Waiting must be passive: two busy neighbours make a two-thread job with default waiting many times slower.
    """
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = str(threads)


def open_executor(runtime: Runtime) -> Executor:
    """Worker processes, one thread each, started from a clean server so that no lock or thread is inherited.

    ``RESPEAK_WORKERS`` is the share of the cores that a flow gives a stage while others run beside it.
    """
    workers = int(os.environ.get("RESPEAK_WORKERS", runtime.workers))
    context = multiprocessing.get_context("forkserver")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)


def _start_worker() -> None:
    # Ctrl-C reaches the whole process group; the parent decides, so that a shard in progress is finished whole.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    limit_threads(1)
