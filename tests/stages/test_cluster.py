"""The same shard work over a Dask cluster of two local workers, one of them killed on the way."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from speech.errors import UserError
from stages.params.runtime import Runtime
from stages.runtime.faults import LostError
from stages.runtime.jobs import Job
from tests.cluster import Cluster, local_cluster
from tests.stages.test_jobs import RUNTIME, count_then_write

pytest.importorskip("distributed", reason="Dask is not installed")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with local_cluster(tmp_path, ROOT) as started:
        yield started


def write_and_kill_once(payload: Any, path: Path) -> dict[str, Any]:
    """One task kills the worker it first runs on, in the middle."""
    log, text = payload
    marker = Path(log).with_suffix(".killed")
    if text == "deadly" and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return count_then_write(payload, path)


def job(folder: Path, runtime: Runtime) -> Job:
    scratch = folder / "scratch/stage/key"
    (scratch / "parts").mkdir(parents=True)
    return Job(folder / "out", scratch, "key", runtime)


def test_a_killed_workers_shard_is_made_by_the_other(cluster: Cluster, tmp_path: Path) -> None:
    log = tmp_path / "log"
    tasks = {f"{i}.txt": (str(log), "deadly" if i == 3 else "x" * i) for i in range(8)}
    on_cluster = job(tmp_path / "cluster", dataclasses.replace(RUNTIME, cluster=cluster.address))
    reports = on_cluster.run(tasks, write_and_kill_once)
    assert sum(worker.poll() is not None for worker in cluster.workers) == 1
    here = job(tmp_path / "here", RUNTIME)
    assert reports == here.run(tasks, write_and_kill_once)
    for work in (on_cluster, here):
        work.publish()
    for name in tasks:
        assert (tmp_path / "cluster/out" / name).read_bytes() == (tmp_path / "here/out" / name).read_bytes()


def test_a_users_error_comes_back_as_one(cluster: Cluster, tmp_path: Path) -> None:
    runtime = dataclasses.replace(RUNTIME, cluster=cluster.address)
    with pytest.raises(UserError, match="this one is bad"):
        job(tmp_path / "bad", runtime).run({"a.txt": (str(tmp_path / "log"), "bad")}, count_then_write)


def test_no_scheduler_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.runtime.engine.CONNECT_SECONDS", 1)
    runtime = dataclasses.replace(RUNTIME, cluster="tcp://127.0.0.1:9")
    with pytest.raises(LostError, match=r"no Dask scheduler at tcp://127\.0\.0\.1:9"):
        job(tmp_path, runtime).run({"a.txt": (str(tmp_path / "log"), "x")}, count_then_write)


def wait_long(payload: Any, path: Path) -> dict[str, Any]:
    Path(payload).touch()
    time.sleep(60)
    return {}


def test_a_lost_scheduler_is_said_and_not_waited_for(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.runtime.engine.CONNECT_SECONDS", 3)
    started = tmp_path / "started"
    work = job(tmp_path, dataclasses.replace(RUNTIME, cluster=cluster.address))

    def kill_scheduler() -> None:
        while not started.exists():
            time.sleep(0.05)
        cluster.scheduler.kill()

    threading.Thread(target=kill_scheduler, daemon=True).start()
    with pytest.raises(LostError, match=r"a\.txt: the cluster is gone"):
        work.run({"a.txt": str(started)}, wait_long)
