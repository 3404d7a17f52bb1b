"""One sweep: which experiments run, how many side by side, what became of them, how they compare. Knows DVC."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock

from flows.children import Children, Ending
from flows.experiments import Experiment, finished, read_metrics, running
from flows.machine import available_cores
from flows.reproduction import DONE, Result, find_dvc_program, judge, new_session, stage_environment
from speech.storage.files import write_text
from stages.reporting import sweep_comparison
from stages.tracking.tracker import Tracker

POLL_SECONDS = 2.0
BEGUN = "Reproducing experiment"  # DVC's line once an experiment has its copy


@dataclass
class Sweep:
    """The experiments of one flow, and what became of them.

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
        self.session = new_session()
        varied = "-".join(key.rpartition(".")[2] for key in self.experiments[0].varied)
        names = hashlib.sha256(" ".join(self.names).encode()).hexdigest()
        self.name = f"{varied}-{names[:8]}"
        self.scale = str(self.experiments[0].params.get("scale", ""))

    @property
    def names(self) -> list[str]:
        """Return the experiments' names."""
        return [experiment.name for experiment in self.experiments]

    @property
    def output(self) -> Path:
        """The folder in which the comparison is written."""
        return self.root / "sweeps" / self.name

    def run(self, experiment: Experiment, log: Callable[[str], None]) -> Result:
        """Run one experiment, unless it is finished; its MLflow run is the parent of those of its stages."""
        self.results[experiment.name] = result = self._run(experiment, log)
        return result

    def _run(self, experiment: Experiment, log: Callable[[str], None]) -> Result:
        name = experiment.name
        if name in finished(self.root) and self._noted(name).is_file():
            return Result("unchanged", "skipped (finished before)")
        if self.children.stopped.is_set():
            return Result("stopped", "stopped before it began")
        session = f"{self.session}-{name}"
        tags = {"DVC_EXP_NAME": name}
        tracker = Tracker.open_session(name, self.scale, session, within=self.session, tags=tags)
        tracker.log_params(experiment.params)
        result = Result("crashed", "ended by an error in the flow")
        try:
            result = self._execute(experiment, session, log)
        finally:
            if result.outcome in DONE:
                tracker.log_metrics(read_metrics(self.root).get(name, {}))
                write_text(self._noted(name), session)
                shutil.rmtree(self._scratch(name), ignore_errors=True)
            ended = {"failed": "FAILED", "crashed": "FAILED", "stopped": "KILLED"}
            tracker.close(ended.get(result.outcome, "FINISHED"))
        return result

    def _execute(self, experiment: Experiment, session: str, log: Callable[[str], None]) -> Result:
        """Run DVC until the experiment is there.

        A DVC process that has ended its own experiment takes on one that another process is about to begin: whoever
        runs this one, its end is waited for.
        """
        for _ in range(2):
            if self._is_there(experiment.name):
                return Result("restored", "finished by another process")
            result = judge(self._start(experiment, session, log), self.children.stopped)
            if result.outcome not in DONE:
                return result
            if self._is_there(experiment.name):
                return Result("ran", "ran")
        return Result("failed", "DVC ended well, but there is no such experiment; see 'dvc exp show'")

    def _is_there(self, name: str) -> bool:
        """Return whether an experiment is finished, once nobody is at work on it."""
        while name in running(self.root) and not self.children.stopped.wait(POLL_SECONDS):
            pass
        return name in finished(self.root)

    def _start(self, experiment: Experiment, session: str, log: Callable[[str], None]) -> Ending:
        dvc = [find_dvc_program(), "--cd", os.fspath(self.root), "--wait-for-lock"]
        command = [*dvc, "exp", "run", "--temp", "--name", experiment.name]
        for override in experiment.overrides:
            command += ["--set-param", override]
        scratch = self._scratch(experiment.name)
        environment = stage_environment(self.share, session) | {"RESPEAK_SCRATCH": os.fspath(scratch)}
        scratch.parent.mkdir(parents=True, exist_ok=True)
        begin = FileLock(scratch.with_name("begin.lock"), thread_local=False)

        def heard(line: str) -> None:
            if line.startswith(BEGUN):
                begin.release()
            log(line)

        with begin:  # DVC keeps one place for what is about to begin
            return self.children.run([*command, *self.targets], environment, heard)

    def _scratch(self, name: str) -> Path:
        """Return the folder of work in progress: outside of the experiment's copy, which ends with the process."""
        return self.root / ".scratch" / "sweeps" / name

    def _noted(self, name: str) -> Path:
        """Return the file that is there once MLflow's journal has all of a finished experiment."""
        return self.root / ".scratch" / "mlflow" / "experiments" / name

    def compare(self) -> None:
        """Write the comparison of what is finished."""
        metrics = {name: found for name, found in read_metrics(self.root).items() if name in self.names}
        write_text(self.output / "table.md", sweep_comparison.markdown(self.experiments, metrics, f"Sweep {self.name}"))
        write_text(self.output / "table.csv", sweep_comparison.to_csv(self.experiments, metrics))
        sweep_comparison.figure(self.experiments, metrics).savefig(self.output / "wer.png", dpi=120)
