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
from flows.cores import Cores, available_cores
from flows.gpus import count_gpus, wants_gpu
from flows.graph import Graph, below
from flows.locks import Blocked
from flows.urgency import Urgency
from speech.errors import UserError
from stages.params.whole import load_params
from stages.runtime.engine import TRAINING, WAITING
from stages.runtime.processes import process_key
from stages.tracking.tracker import SESSION, Tracker, announce, flatten, is_number

Outcome = Literal["unchanged", "restored", "ran", "failed", "crashed", "stopped"]
DONE: tuple[Outcome, ...] = ("unchanged", "restored", "ran")


@dataclass(frozen=True)
class Result:
    """What became of a stage, in a word and in a sentence; ``again`` when it is to be tried once more."""

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
        self.cores = Cores(available_cores(), count_gpus())
        self.session = f"{process_key(os.getpid()) or os.getpid()}-{time.time_ns()}"
        self._tries: dict[str, int] = {}
        self._granted: dict[str, int] = {}
        self._left = {name: threading.Event() for name in self.graph}
        self._urgency = Urgency(self.root, self.graph)
        self._below = below(self.graph)
        self._above = {name: {n for n in self.graph if name in self._below[n]} for name in self.graph}

    def ready(self) -> Iterator[str]:
        """Each stage as it may begin: those it waits for have been left, and it has its cores, where it needs any.

        A stage that waits for one which did not do well comes as well, without cores.
        """
        queue: SimpleQueue[str] = SimpleQueue()
        for name in self.graph:
            threading.Thread(target=self._await_turn, args=(name, queue), daemon=True).start()
        for _ in self.graph:
            yield queue.get()

    def leave(self, name: str) -> None:
        """Say that whoever was to run a stage is done with it, so that others may begin."""
        if cores := self._granted.pop(name, 0):
            self.cores.release(cores, self._on_gpu(name))
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

    def _acquire(self, name: str) -> int:
        urgency, stopped = self._urgency.of(name), self.children.stopped
        return self.cores.acquire(name, lambda: self.share(name), urgency, stopped, self._on_gpu(name))

    def _on_gpu(self, name: str) -> bool:
        return bool(count_gpus()) and wants_gpu(name, self.params)

    def _is_unchanged(self, name: str) -> bool:
        node = self.graph[name]
        return not node.changed and all(self.results[other].outcome == "unchanged" for other in node.upstream)

    def run(self, name: str, say: Callable[[str], None]) -> Result:
        """Run one stage whose upstream stages are done; an unchanged one costs nothing."""
        result = self._run(name, say)
        if not result.again:
            self.results[name] = result
            self._left[name].set()  # now, not when Prefect has told its server: others' cores are free by now
        return result

    def _run(self, name: str, say: Callable[[str], None]) -> Result:
        if self._is_unchanged(name):
            return Result("unchanged", "skipped (unchanged)")
        while True:
            ending = self._repro(name, say)
            if ending is None:
                return Result("stopped", "stopped before it began")
            blocked = Blocked.told(ending.tail) if ending.status else None
            if blocked is None:
                return self._judge(name, ending)
            say(str(blocked))
            while blocked.lasts(self.root) and not self.children.stopped.wait(1.0):
                pass

    def _repro(self, name: str, say: Callable[[str], None]) -> Ending | None:
        """DVC's run of one stage, once there are cores for it; None when all was stopped before."""
        cores = self._granted.pop(name, 0) or self._acquire(name)
        if not cores:
            return None
        try:
            # Killed before, most likely for want of memory: half the workers need half of it.
            workers = max(1, cores >> self._tries.get(name, 0))
            environment = stage_environment(cores, self.session) | {"RESPEAK_WORKERS": str(workers)}
            return self.children.run_dvc(["--wait-for-lock", "repro", "--single-item", name], environment, say)
        finally:
            self.cores.release(cores, self._on_gpu(name))

    def _judge(self, name: str, ending: Ending) -> Result:
        result = judge(ending, self.children.stopped)
        tries = self._tries[name] = self._tries.get(name, 0) + 1
        if result.outcome == "crashed" and ending.may_pass and tries <= self.retries:
            return Result("crashed", result.message, again=True)
        return result

    def share(self, name: str) -> int:
        """Cores for a stage that trains: its threads. For others, which divide their work by shards among processes,
        an even share among the stages that could run beside them.
        """
        if name.startswith(TRAINING):
            return self.threads
        related = self._below[name] | self._above[name] | {name}
        beside = [n for n in self.graph if n not in related and n not in self.results]
        return min(self.workers, max(1, self.cores.total // (1 + len(beside))))


def stage_environment(cores: int, session: str) -> dict[str, str]:
    """What DVC and its stages run in: this environment's programs, so many cores, runs under ``session``."""
    folder = os.fspath(Path(sys.executable).parent)
    return os.environ | {
        "PATH": f"{folder}{os.pathsep}{os.environ.get('PATH', '')}",  # dvc.yaml says 'python': this one
        "PYTHONUNBUFFERED": "1",
        **WAITING,
        "OMP_NUM_THREADS": str(cores),
        "MKL_NUM_THREADS": str(cores),
        "RESPEAK_WORKERS": str(cores),
        "DVC_NO_ANALYTICS": "1",
        SESSION: session,
    }


def judge(ending: Ending, stopped: threading.Event) -> Result:
    """DVC's exit and its last lines, in our words."""
    if ending.status == 0:
        if ending.says("Stage '", "didn't change, skipping"):
            return Result("unchanged", "skipped (unchanged)")
        if ending.says("is cached - skipping run"):
            return Result("restored", "restored from DVC's run cache")
        return Result("ran", "ran")
    if stopped.is_set():
        return Result("stopped", f"stopped: {ending.meaning()}")
    return Result("crashed" if ending.fault else "failed", ending.meaning())


def find_dvc_program() -> str:
    """The ``dvc`` of this environment, else of the PATH.

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
        outcomes = {result.outcome for result in self.work.results.values()}
        whole = kind is None and len(self.work.results) == len(self.work.graph) and outcomes <= set(DONE)
        done = {name for name, result in self.work.results.items() if result.outcome in DONE}
        self.tracker.log_metrics(final_metrics(self.work.root, done))
        for path in [self.work.root / "dvc.lock", *sorted(self.work.root.glob("tables"))]:
            if path.exists():
                self.tracker.log_artifact(path)
        self.tracker.close("FINISHED" if whole else "KILLED" if self.work.children.stopped.is_set() else "FAILED")
        self._await_collector()

    def _await_collector(self) -> None:
        await_collector(self._collector)
        note = self.work.root / ".scratch" / "mlflow" / "sessions" / f"{self.work.session}.json"
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
    """What the evaluations among the stages that are ``done`` measured, as ``<experiment>/<metric>``.

    Others' metrics, which are in git, may be of other parameters.
    """
    found: dict[str, float] = {}
    for path in sorted(root.glob("evaluate/*/*/metrics.json")):
        if f"evaluate@{path.parent.name}" in done:
            values = flatten(json.loads(path.read_text()))
            found |= {f"{path.parent.name}/{name}": value for name, value in values.items() if is_number(value)}
    return found
