"""One reproduction: which stages run, with how many cores each, and what became of them. Knows DVC, not Prefect."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from filelock import FileLock

from flows.children import Children, Ending
from flows.graph import Graph, below, ways
from flows.locks import await_users, in_use
from flows.machine import available_cores, gpus, take_gpu
from speech.errors import UserError
from stages.facts import facts_of, wants_gpu
from stages.params.whole import load_params
from stages.runtime.engine import WAITING
from stages.runtime.processes import process_key
from stages.tracking.tracker import SESSION, Tracker, announce, flatten, is_number

Outcome = Literal["unchanged", "restored", "ran", "failed", "crashed", "stopped"]
DONE: tuple[Outcome, ...] = ("unchanged", "restored", "ran")
COLLECTOR_SECONDS = 60.0  # MLflow has the last lines before the table is printed; a slow server is not waited for


@dataclass(frozen=True)
class Result:
    """The outcome of a stage, in a word and in a sentence; ``again`` when it is to be tried once more."""

    outcome: Outcome
    message: str
    again: bool = False


class Work(Protocol):
    """A flow's work: things to be done by name, and what became of those that have been."""

    root: Path
    scale: str
    session: str
    children: Children
    results: dict[str, Result]

    @property
    def names(self) -> list[str]:
        """Return all there is to do."""
        ...


def is_whole(work: Work) -> bool:
    """Return whether everything was done, and well."""
    return all(name in work.results and work.results[name].outcome in DONE for name in work.names)


@dataclass(frozen=True)
class Grant:
    """A stage's share of the machine: so many cores, none where it has nothing to run, and a GPU where it wants one."""

    cores: int = 0
    gpu: FileLock | None = None


@dataclass
class Reproduction:
    """The stages of one flow: which may begin, with how many cores, and what became of them.

    ``retries`` is how often a stage is tried again that the machine failed: killed from outside, or left by a worker.
    """

    root: Path
    graph: Graph
    children: Children = field(default_factory=Children)
    retries: int = 1
    results: dict[str, Result] = field(default_factory=dict)

    def __post_init__(self) -> None:
        path = self.root / "params.yaml"
        self.params = load_params(path) if path.is_file() else None
        self.scale = self.params.scale if self.params else ""
        self.threads = self.params.runtime.threads if self.params else 1
        self.workers = self.params.runtime.workers if self.params else 1
        self.cores = self.free = available_cores()
        self.session = new_session()
        self.left: set[str] = set()
        self._granted: dict[str, Grant] = {}
        self._tries: dict[str, int] = {}
        self._ways, self._below = ways(self.graph), below(self.graph)

    @property
    def names(self) -> list[str]:
        """Return all stages, upstream first."""
        return list(self.graph)

    def begin(self) -> list[str]:
        """Return the stages that may begin now, each with its cores and its GPU held until it is left.

        The one on the longest way to the graph's end comes first. Nobody overtakes it for want of cores, or a stage
        that needs many would wait for ever; one that lacks a GPU lets others pass. A stage that has nothing to run,
        its inputs being what they were, or lacking, or all being stopped, needs no cores.
        """
        waiting = [name for name in self.graph if name not in self._granted and name not in self.left]
        ready = [name for name in waiting if self.left.issuperset(self.graph[name].upstream)]
        idle = [name for name in ready if not self._has_work(name)]
        begun = {name: Grant() for name in idle}
        for name in sorted(set(ready).difference(idle), key=lambda name: (-self._ways[name], name)):
            cores, gpu = max(1, min(self.share(name), self.cores)), None
            if cores > self.free:
                break
            if gpus() and wants_gpu(name, self.params) and not (gpu := take_gpu()):
                continue
            self.free -= cores
            begun[name] = Grant(cores, gpu)
        self._granted |= begun
        return list(begun)

    def leave(self, name: str) -> None:
        """Note that whoever was to run a stage is done with it, so that others may begin."""
        grant = self._granted.pop(name)
        self.free += grant.cores
        if grant.gpu:
            grant.gpu.release()
        self.left.add(name)

    def _has_work(self, name: str) -> bool:
        upstream = self.graph[name].upstream
        done = all(other in self.results and self.results[other].outcome in DONE for other in upstream)
        return done and not self._is_unchanged(name) and not self.children.stopped.is_set()

    def _is_unchanged(self, name: str) -> bool:
        node = self.graph[name]
        return not node.changed and all(self.results[other].outcome == "unchanged" for other in node.upstream)

    def run(self, name: str, log: Callable[[str], None]) -> Result:
        """Run one stage whose upstream stages are done; an unchanged one costs nothing."""
        result = self._run(name, log)
        if not result.again:
            self.results[name] = result
        return result

    def _run(self, name: str, log: Callable[[str], None]) -> Result:
        if self._is_unchanged(name):
            return Result("unchanged", "skipped (unchanged)")
        told = ""
        while not self.children.stopped.is_set():
            ending = self._repro(name, log)
            waiting = in_use(ending.tail) if ending.status else None
            if waiting is None:
                return self._judge(name, ending)
            sentence, pids = waiting
            if sentence != told:
                log(sentence)
            told = sentence
            await_users(pids, self.children.stopped)
        return Result("stopped", "stopped before it began")

    def _repro(self, name: str, log: Callable[[str], None]) -> Ending:
        """Run DVC for one stage."""
        cores = self._granted[name].cores
        # Killed before, most likely for want of memory: half the workers need half of it.
        workers = max(1, cores >> self._tries.get(name, 0))
        environment = stage_environment(cores, self.session) | {"RESPEAK_WORKERS": str(workers)}
        command = [find_dvc_program(), "--wait-for-lock", "repro", "--single-item", name]
        return self.children.run(command, environment, log)

    def _judge(self, name: str, ending: Ending) -> Result:
        result = judge(ending, self.children.stopped)
        tries = self._tries[name] = self._tries.get(name, 0) + 1
        if result.outcome == "crashed" and ending.may_pass and tries <= self.retries:
            return Result("crashed", result.message, again=True)
        return result

    def share(self, name: str) -> int:
        """Return the cores of a stage: one that trains has its threads.

        Others, which divide their work by shards among processes, have an even share among those that could run beside.
        """
        if facts_of(name).trains:
            return self.threads
        related = self._below[name] | {name} | {other for other in self.graph if name in self._below[other]}
        beside = [other for other in self.graph if other not in related and other not in self.results]
        return min(self.workers, max(1, self.cores // (1 + len(beside))))


def new_session() -> str:
    """Return a name for what this process runs now, by which it is known whether that still lives."""
    return f"{process_key(os.getpid()) or os.getpid()}-{time.time_ns()}"


def stage_environment(cores: int, session: str) -> dict[str, str]:
    """Return what DVC and its stages run in: this environment's programs, so many cores, runs under ``session``."""
    folder = os.fspath(Path(sys.executable).parent)
    return os.environ | {
        "PATH": f"{folder}{os.pathsep}{os.environ.get('PATH', '')}",  # dvc.yaml names 'python': this one
        "PYTHONUNBUFFERED": "1",
        **WAITING,
        "OMP_NUM_THREADS": str(cores),
        "MKL_NUM_THREADS": str(cores),
        "RESPEAK_WORKERS": str(cores),
        "DVC_NO_ANALYTICS": "1",
        SESSION: session,
    }


def judge(ending: Ending, stopped: threading.Event) -> Result:
    """Return DVC's exit and its last lines in our words."""
    if ending.status == 0:
        if ending.holds("Stage '", "didn't change, skipping"):
            return Result("unchanged", "skipped (unchanged)")
        if ending.holds("is cached - skipping run"):
            return Result("restored", "restored from DVC's run cache")
        return Result("ran", "ran")
    if stopped.is_set():
        return Result("stopped", f"stopped: {ending.meaning()}")
    return Result("crashed" if ending.fault else "failed", ending.meaning())


def find_dvc_program() -> str:
    """Return the ``dvc`` of this environment, else of the PATH.

    Raises:
        UserError: there is none.
    """
    beside = Path(sys.executable).with_name("dvc")
    found = os.fspath(beside) if beside.is_file() else shutil.which("dvc")
    if not found:
        raise UserError("dvc: not found beside this Python nor on the PATH; install the pipeline extra")
    return found


@contextmanager
def recorded(name: str, work: Work) -> Iterator[Tracker]:
    """Yield the MLflow run of all that a flow does, parent of the runs of what it starts."""
    tracker = Tracker.open_session(name, work.scale, work.session)
    collector = announce(work.root, work.session)
    status = "FAILED"
    try:
        yield tracker
        status = "FINISHED" if is_whole(work) else "KILLED" if work.children.stopped.is_set() else "FAILED"
    finally:
        tracker.close(status)
        deadline = time.monotonic() + COLLECTOR_SECONDS
        while collector and collector.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)


def page_of(root: Path, session: str) -> str:
    """Return the address of a session's run on MLflow's own server; empty where there is none."""
    note = root / ".scratch" / "mlflow" / "sessions" / f"{session}.json"
    server = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not note.is_file() or not server.startswith("http"):
        return ""
    where = json.loads(note.read_text())
    return f"{server.rstrip('/')}/#/experiments/{where['experiment_id']}/runs/{where['run_id']}"


def final_metrics(root: Path, done: Collection[str]) -> Mapping[str, float]:
    """Return what the evaluations among the stages that are ``done`` measured, as ``<experiment>/<metric>``.

    Others' metrics, which are in git, may be of other parameters.
    """
    found: dict[str, float] = {}
    for path in sorted(root.glob("evaluate/*/*/metrics.json")):
        experiment = path.parent.name
        if f"evaluate@{experiment}" in done:
            values = flatten(json.loads(path.read_text()))
            found |= {f"{experiment}/{name}": value for name, value in values.items() if is_number(value)}
    return found
