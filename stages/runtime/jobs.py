"""A stage's work, file by file: finished files survive a kill, outputs appear whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speech.storage.files import write_json
from stages.params.runtime import Runtime
from stages.runtime.engine import open_executor
from stages.runtime.faults import LostError

Report = dict[str, Any]
Work = Callable[[Any, Path], Report]
# A training's state under its scratch folder, and the digests of the code that it was begun with.
CHECKPOINT, CODE = "last.ckpt", "code.json"


@dataclass(frozen=True)
class Job:
    """Work under ``.scratch/<stage>/<fingerprint>``, published to ``output`` when all of it is done."""

    output: Path
    scratch: Path
    fingerprint: str
    runtime: Runtime
    label: str = ""
    code: Mapping[str, str] = field(default_factory=dict)

    def begin(self) -> None:
        """Make the scratch folder, or find one that was begun.

        Shards that a training prepares for itself and then learns from are of one code: before there is a checkpoint
        to lose, what other code left is removed.
        """
        if self.changed_code() and not (self.scratch / CHECKPOINT).is_file():
            shutil.rmtree(self.scratch)
        self.parts.mkdir(parents=True, exist_ok=True)
        if not (self.scratch / CODE).is_file():
            write_json(self.scratch / CODE, dict(self.code))

    def changed_code(self) -> list[str]:
        """Return the files whose code is another than when the work was begun, or which came or went."""
        path = self.scratch / CODE
        begun = json.loads(path.read_text()) if path.is_file() else self.code
        return sorted(name for name in {*begun, *self.code} if begun.get(name) != self.code.get(name))

    def code_notice(self) -> str:
        """Return that the code has changed since the checkpoint was begun, and where; nothing if it has not."""
        changed = ", ".join(self.changed_code())
        return f"code of {self.label} changed since this checkpoint was begun ({changed})" if changed else ""

    @property
    def parts(self) -> Path:
        """The folder where finished files wait to be published."""
        return self.scratch / "parts"

    def run(self, tasks: Mapping[str, Any], work: Work, title: str | None = None) -> dict[str, Report]:
        """Run ``work(payload, path)`` for each task, in worker processes, and return the reports by file name.

        ``work`` writes ``path`` atomically. A task whose file and report are there already is not run again.

        Raises:
            UserError: as raised by the work.
            LostError: a worker died (out of memory, a crash in a native library), or the cluster is gone.
        """
        reports_dir = self.scratch / "reports"
        reports = {name: json.loads(_report(reports_dir, name).read_text()) for name in tasks if self._done(name)}
        todo = {name: payload for name, payload in tasks.items() if name not in reports}
        progress = _Progress(title or self.output.name, len(tasks), len(reports))
        with open_executor(self.runtime) as pool:
            pending = {pool.submit(work, payload, self.parts / name): name for name, payload in todo.items()}
            try:
                while pending:
                    for future in wait(pending, timeout=1.0, return_when="FIRST_COMPLETED").done:
                        name = pending.pop(future)
                        reports[name] = _result(future, name)
                        write_json(_report(reports_dir, name), reports[name])
                        progress.step()
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        return {name: reports[name] for name in tasks}

    def publish(self) -> None:
        """Give the finished files their place in ``output``, by hard link where the disk allows, and tidy up."""
        staged = self.output.with_name(f".{self.output.name}.{os.getpid()}.tmp")
        shutil.rmtree(staged, ignore_errors=True)
        self.output.parent.mkdir(parents=True, exist_ok=True)
        try:
            # A kill can leave an unfinished temporary file (a dot file) beside the finished ones.
            shutil.copytree(self.parts, staged, copy_function=_link, ignore=shutil.ignore_patterns(".*"))
        except OSError:  # a full disk, most likely: half an output is in everybody's way
            shutil.rmtree(staged, ignore_errors=True)
            raise
        shutil.rmtree(self.output, ignore_errors=True)
        staged.rename(self.output)
        shutil.rmtree(self.scratch.parent, ignore_errors=True)

    def _done(self, name: str) -> bool:
        return (self.parts / name).is_file() and _report(self.scratch / "reports", name).is_file()


def _report(directory: Path, name: str) -> Path:
    return directory / f"{name}.json"


def _result(future: Future[Report], name: str) -> Report:
    try:
        return future.result()
    except BrokenProcessPool:
        raise LostError(
            f"{name}: the worker process died (out of memory or a crash in a native library); "
            "finished shards are kept: lower runtime.workers and run again"
        ) from None
    except CancelledError:
        # Nobody here cancels what is waited for: Dask's client does when its scheduler is gone.
        raise LostError(f"{name}: the cluster is gone; finished shards are kept: start it and run again") from None
    except Exception as error:
        # Dask's, known by name so that nothing imports it where there is no cluster.
        if type(error).__name__ != "KilledWorker":
            raise
        raise LostError(f"{name}: killed every worker of the cluster that tried it ({error})") from None


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


class _Progress:
    """One line per second at most, on stderr: what is done, how fast, how long still."""

    def __init__(self, title: str, total: int, done: int) -> None:
        self.title, self.total, self.done, self.first = title, total, done, done
        self.start = self.shown = time.monotonic()
        if done:
            print(f"{title}: {done} of {total} shards were finished before", file=sys.stderr, flush=True)

    def step(self) -> None:
        self.done += 1
        now = time.monotonic()
        if now - self.shown < 1.0 and self.done < self.total:
            return
        self.shown = now
        left = (now - self.start) / (self.done - self.first) * (self.total - self.done)
        print(f"{self.title}: {self.done}/{self.total} shards, {left:.0f} s left", file=sys.stderr, flush=True)
