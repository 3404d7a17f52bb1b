"""One reproduction: which stages run, with how many cores each, and what became of them. Knows DVC, not Prefect."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Literal

from flows.children import Children, Ending
from flows.graph import Graph, below, ways
from flows.locks import await_users, in_use
from flows.machine import Cores, Grant, available_cores, gpus
from speech.errors import UserError
from stages.facts import facts_of, wants_gpu
from stages.params.whole import load_params
from stages.runtime.engine import WAITING
from stages.runtime.processes import process_key
from stages.tracking.tracker import SESSION, Tracker, announce, flatten, is_number

Outcome = Literal["unchanged", "restored", "ran", "failed", "crashed", "stopped"]
DONE: tuple[Outcome, ...] = ("unchanged", "restored", "ran")


@dataclass(frozen=True)
class Result:
    """The outcome of a stage, in a word and in a sentence; ``again`` when it is to be tried once more."""

    outcome: Outcome
    message: str
    again: bool = False


@dataclass
class Reproduction:
    """The state that the tasks of one flow share.

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
        self.cores = Cores(available_cores())
        self.session = new_session()
        self._tries: dict[str, int] = {}
        self._granted: dict[str, Grant | None] = {}
        self._left = {name: threading.Event() for name in self.graph}
        self._ways, self._below = ways(self.graph), below(self.graph)

    def ready(self) -> Iterator[str]:
        """Yield each stage as it may begin: those it waits for have been left, and it has its cores, if it needs any.

        A stage that waits for one which did not do well comes as well, without cores.
        """
        queue: SimpleQueue[str] = SimpleQueue()
        for name in self.graph:
            threading.Thread(target=self._await_turn, args=(name, queue), daemon=True).start()
        for _ in self.graph:
            yield queue.get()

    def leave(self, name: str) -> None:
        """Note that whoever was to run a stage is done with it, so that others may begin."""
        if grant := self._granted.pop(name, None):
            self.cores.release(grant)
        self._left[name].set()

    def _await_turn(self, name: str, queue: SimpleQueue[str]) -> None:
        upstream = self.graph[name].upstream
        for other in upstream:
            self._left[other].wait()
        done = all(other in self.results and self.results[other].outcome in DONE for other in upstream)
        try:
            if done and not self._is_unchanged(name):
                self._granted[name] = self._acquire(name)
        finally:  # an error comes again in the stage's task, where it is seen; here the flow would wait for ever
            queue.put(name)

    def _acquire(self, name: str) -> Grant | None:
        on_gpu = bool(gpus()) and wants_gpu(name, self.params)
        return self.cores.acquire(name, lambda: self.share(name), self._ways[name], self.children.stopped, on_gpu)

    def _is_unchanged(self, name: str) -> bool:
        node = self.graph[name]
        return not node.changed and all(self.results[other].outcome == "unchanged" for other in node.upstream)

    def run(self, name: str, log: Callable[[str], None]) -> Result:
        """Run one stage whose upstream stages are done; an unchanged one costs nothing."""
        result = self._run(name, log)
        if not result.again:
            self.results[name] = result
            self._left[name].set()  # now, not when Prefect has told its server: others' cores are free by now
        return result

    def _run(self, name: str, log: Callable[[str], None]) -> Result:
        if self._is_unchanged(name):
            return Result("unchanged", "skipped (unchanged)")
        told = ""
        while True:
            ending = self._repro(name, log)
            if ending is None:
                return Result("stopped", "stopped before it began")
            waiting = in_use(ending.tail) if ending.status else None
            if waiting is None:
                return self._judge(name, ending)
            sentence, pids = waiting
            if sentence != told:
                log(sentence)
            told = sentence
            await_users(pids, self.children.stopped)

    def _repro(self, name: str, log: Callable[[str], None]) -> Ending | None:
        """Run DVC on one stage, once there are cores for it; return how it ended, None when all was stopped before."""
        grant = self._granted.pop(name, None) or self._acquire(name)
        if not grant:
            return None
        try:
            # Killed before, most likely for want of memory: half the workers need half of it.
            workers = max(1, grant.cores >> self._tries.get(name, 0))
            environment = stage_environment(grant.cores, self.session) | {"RESPEAK_WORKERS": str(workers)}
            command = [find_dvc_program(), "--wait-for-lock", "repro", "--single-item", name]
            return self.children.run(command, environment, log)
        finally:
            self.cores.release(grant)

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
        return min(self.workers, max(1, self.cores.total // (1 + len(beside))))


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


class Record:
    """The reproduction's own MLflow run, parent of the runs of its stages; entered as a context."""

    def __init__(self, work: Reproduction) -> None:
        self.work = work
        self.url = ""
        self.tracker = Tracker.open_session("reproduce", work.scale, work.session)
        self._collector = announce(work.root, work.session)
        if (params := work.root / "params.yaml").is_file():
            self.tracker.log_artifact(params)

    def __enter__(self) -> Record:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        root, results = self.work.root, self.work.results
        done = {name for name, result in results.items() if result.outcome in DONE}
        self.tracker.log_metrics(final_metrics(root, done))
        for path in (root / "dvc.lock", root / "tables"):
            if path.exists():
                self.tracker.log_artifact(path)
        whole = kind is None and done == self.work.graph.keys()
        self.tracker.close("FINISHED" if whole else "KILLED" if self.work.children.stopped.is_set() else "FAILED")
        await_collector(self._collector)
        note = root / ".scratch" / "mlflow" / "sessions" / f"{self.work.session}.json"
        if note.is_file() and (server := os.environ.get("MLFLOW_TRACKING_URI", "")).startswith("http"):
            where = json.loads(note.read_text())
            self.url = f"{server.rstrip('/')}/#/experiments/{where['experiment_id']}/runs/{where['run_id']}"


def await_collector(collector: subprocess.Popen[bytes] | None) -> None:
    """Let MLflow have the last lines before the table is printed; a slow server is not waited for."""
    if collector is None:
        return
    deadline = time.monotonic() + 60.0
    while collector.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)


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
