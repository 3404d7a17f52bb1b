"""One sweep: which experiments run, how many side by side, what became of them, how they compare. Knows DVC."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock

from flows.children import Children, Ending
from flows.experiments import Experiment, Metrics, finished, read_metrics, running
from flows.machine import Cores, available_cores
from flows.reproduction import (
    DONE,
    Result,
    await_collector,
    find_dvc_program,
    judge,
    new_session,
    stage_environment,
)
from speech.storage.files import write_text
from stages.reporting import sweep_comparison
from stages.tracking.tracker import Tracker, announce

POLL_SECONDS = 2.0
BEGUN = "Reproducing experiment"  # DVC's line once an experiment has its copy
# What DVC logs of every output that a new copy does not have yet, and its advice to people who type.
CHATTER = re.compile(r"^(WARNING: No file hash info found for |To apply the results|\s*dvc exp apply |\s*$)")


@dataclass
class Sweep:
    """The state that the tasks of one sweep share.

    ``jobs`` is how many experiments run side by side; 0: as many as there are cores for.
    """

    root: Path
    experiments: list[Experiment]
    targets: tuple[str, ...] = ()
    jobs: int = 0
    children: Children = field(default_factory=Children)
    results: dict[str, Result] = field(default_factory=dict)

    def __post_init__(self) -> None:
        cores = available_cores()
        threads = max(int(e.params.get("runtime", {}).get("threads", 1)) for e in self.experiments)
        self.jobs = max(1, min(self.jobs or cores // threads, len(self.experiments)))
        self.share = max(1, cores // self.jobs)
        self.slots = Cores(self.jobs)
        self.session = new_session()
        varied = "-".join(key.rpartition(".")[2] for key in self.experiments[0].varied)
        names = hashlib.sha256(" ".join(e.name for e in self.experiments).encode()).hexdigest()
        self.name = f"{varied}-{names[:8]}"
        self.scale = str(self.experiments[0].params.get("scale", ""))
        self._ranks = {e.name: -float(i) for i, e in enumerate(self.experiments)}

    @property
    def output(self) -> Path:
        """The folder that the comparison is written to."""
        return self.root / "sweeps" / self.name

    def run(self, experiment: Experiment, log: Callable[[str], None]) -> Result:
        """Run one experiment, unless it is finished; its MLflow run is the parent of those of its stages."""
        self.results[experiment.name] = result = self._run(experiment, log)
        return result

    def _run(self, experiment: Experiment, log: Callable[[str], None]) -> Result:
        name = experiment.name
        if name in finished(self.root) and self._noted(name).is_file():
            return Result("unchanged", "skipped (finished before)")
        slot = self.slots.acquire(name, lambda: 1, self._ranks[name], self.children.stopped)
        if not slot:
            return Result("stopped", "stopped before it began")
        session = f"{self.session}-{name}"
        tags = {"DVC_EXP_NAME": name}
        tracker = Tracker.open_session(name, self.scale, session, within=self.session, tags=tags)
        tracker.log_params(experiment.params)
        result = Result("crashed", "ended by an error in the flow")
        try:
            result = self._execute(experiment, session, log)
        finally:
            self.slots.release(slot)
            if result.outcome in DONE:
                tracker.log_metrics(read_metrics(self.root).get(name, {}))
                write_text(self._noted(name), session)
                shutil.rmtree(self._scratch(name), ignore_errors=True)
            ended = {"failed": "FAILED", "crashed": "FAILED", "stopped": "KILLED"}
            tracker.close(ended.get(result.outcome, "FINISHED"))
        return result

    def _execute(self, experiment: Experiment, session: str, log: Callable[[str], None]) -> Result:
        """Run DVC until the experiment is there."""
        name = experiment.name
        while (pid := running(self.root).get(name)) and not self.children.stopped.wait(POLL_SECONDS):
            log(f"waiting for process {pid}, which runs this experiment already")
        if name in finished(self.root):
            return Result("restored", "finished by another process")
        for _ in range(2):
            result = judge(self._start(experiment, session, log), self.children.stopped)
            if result.outcome not in DONE:
                return result
            if name in finished(self.root):
                return Result("ran", "ran")
            # A DVC process that has ended its own experiment takes on one that another process is about to begin.
            while name in running(self.root) and not self.children.stopped.wait(POLL_SECONDS):
                pass
            if name in finished(self.root):
                return Result("ran", "ran, by another process")
        return Result("failed", "DVC ended well, but there is no such experiment; see 'dvc exp show'")

    def _start(self, experiment: Experiment, session: str, log: Callable[[str], None]) -> Ending:
        dvc = [find_dvc_program(), "--cd", os.fspath(self.root), "--wait-for-lock"]
        command = [*dvc, "exp", "run", "--temp", "--name", experiment.name]
        for override in experiment.overrides:
            command += ["--set-param", override]
        scratch = os.fspath(self._scratch(experiment.name))
        environment = stage_environment(self.share, session) | {"RESPEAK_SCRATCH": scratch}
        folder = self.root / ".scratch" / "sweeps"
        folder.mkdir(parents=True, exist_ok=True)
        begin = FileLock(folder / "begin.lock", thread_local=False)

        def heard(line: str) -> None:
            if line.startswith(BEGUN):
                begin.release()
            if not CHATTER.match(line):
                log(line)

        with begin:  # DVC keeps one place for what is about to begin
            return self.children.run([*command, *self.targets], environment, heard)

    def _scratch(self, name: str) -> Path:
        """Return the folder of work in progress: outside of the experiment's copy, which ends with the process."""
        return self.root / ".scratch" / "sweeps" / name

    def _noted(self, name: str) -> Path:
        """Return the file that is there once MLflow's journal has all of a finished experiment."""
        return self.root / ".scratch" / "mlflow" / "experiments" / name

    def compare(self) -> dict[str, Metrics]:
        """Write the comparison of what is finished; return every experiment's metrics."""
        wanted = {experiment.name for experiment in self.experiments}
        metrics = {name: found for name, found in read_metrics(self.root).items() if name in wanted}
        write_text(self.output / "table.md", sweep_comparison.markdown(self.experiments, metrics, f"Sweep {self.name}"))
        write_text(self.output / "table.csv", sweep_comparison.to_csv(self.experiments, metrics))
        sweep_comparison.figure(self.experiments, metrics).savefig(self.output / "wer.png", dpi=120)
        return metrics


class SweepRecord:
    """The sweep's own MLflow run, around those of its experiments; entered as a context."""

    def __init__(self, work: Sweep) -> None:
        self.work = work
        self.tracker = Tracker.open_session(f"sweep {work.name}", work.scale, work.session)
        self._collector = announce(work.root, work.session)

    def __enter__(self) -> SweepRecord:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        results = self.work.results.values()
        whole = kind is None and len(results) == len(self.work.experiments) and all(r.outcome in DONE for r in results)
        for path in sorted(self.work.output.glob("*")):
            self.tracker.log_artifact(path)
        self.tracker.log_params({"grid": [" ".join(e.overrides) for e in self.work.experiments]})
        self.tracker.close("FINISHED" if whole else "KILLED" if self.work.children.stopped.is_set() else "FAILED")
        await_collector(self._collector)
