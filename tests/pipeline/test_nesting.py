"""Runs nest the same whoever runs the graph: a parent for each session, below it the stages that really ran."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from mlflow.entities import Run

from flows.reproduction import find_dvc_program
from stages.tracking.collector import Collector
from tests.pipeline.repositories import clean_environment, commit, git

ROOT = Path(__file__).resolve().parents[2]
STEP = """\
import sys, yaml
from pathlib import Path
from stages.tracking.tracker import Tracker

name = sys.argv[1]
tracker = Tracker.open(name, None, {}, "tiny")
value = yaml.safe_load(Path("settings.yaml").read_text())[name]
tracker.log_metrics({"value": value})
Path(f"{name}.txt").write_text(str(value))
tracker.close()
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Path:
    """Two stages, one after the other, which report as the project's do; an MLflow without runs."""
    root = tmp_path_factory.mktemp("nesting") / "project"
    root.mkdir()
    git(root, "init", "-q")
    git(root, "config", "user.name", "t")
    git(root, "config", "user.email", "t@localhost")
    dvc(root, "init", "-q")
    (root / "step.py").write_text(STEP)
    settings(root, first=1, second=1)
    stages = {}
    for name, deps in (("first", []), ("second", ["first.txt"])):
        stages[name] = {"cmd": f"{sys.executable} step.py {name}", "deps": deps, "outs": [f"{name}.txt"]}
        stages[name]["params"] = [{"settings.yaml": [name]}]
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    (root / ".gitignore").write_text("/*.txt\n/mlflow.db\n/mlartifacts\n/.scratch\n/.prefect\n")
    commit(root, "begin")
    shutil.copy(database, root)
    return root


def run(root: Path, *command: str) -> str:
    environment = clean_environment(root) | {"PYTHONPATH": os.fspath(ROOT), "RESPEAK_TRACKING": "local"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def dvc(root: Path, *arguments: str) -> str:
    return run(root, find_dvc_program(), *arguments)


def settings(root: Path, **values: int) -> None:
    (root / "settings.yaml").write_text(yaml.safe_dump(values))


class Runs:
    """MLflow's runs of a project, as far as they were not seen before; collected here, as a collector would."""

    def __init__(self, root: Path) -> None:
        self.root, self.seen = root, set[str]()
        self.collector = Collector(root)
        self.client = self.collector.client

    def new(self) -> tuple[Run, list[Run]]:
        """The one new parent, once it is whole, and its children."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            self.collector.pass_over()
            self.collector.settle()
            runs = [run for run in self.client.search_runs(["1"]) if run.info.run_id not in self.seen]
            parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
            if parents and all(run.info.status == "FINISHED" for run in runs):
                break
            time.sleep(0.3)
        (parent,) = parents
        children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
        assert len(runs) == 1 + len(children), "a run is nobody's child"
        self.seen |= {run.info.run_id for run in runs}
        return parent, children

    def lock(self, run: Run) -> dict:
        """The ``dvc.lock`` that a run has, its digest among the run's tags."""
        text = Path(self.client.download_artifacts(run.info.run_id, "dvc.lock")).read_bytes()
        assert run.data.tags["dvc_lock"] == hashlib.md5(text, usedforsecurity=False).hexdigest()
        return yaml.safe_load(text)["stages"]


def test_four_ways_to_run_a_graph_nest_alike(repository: Path) -> None:
    runs = Runs(repository)

    dvc(repository, "repro")
    parent, children = runs.new()
    assert (parent.info.run_name, {run.info.run_name for run in children}) == ("dvc repro", {"first", "second"})
    assert runs.lock(parent).keys() == {"first", "second"}
    commit(repository, "results")
    base = git(repository, "rev-parse", "HEAD").strip()

    # From here on the first stage is unchanged, and no run.
    dvc(repository, "exp", "run", "--name", "here", "--set-param", "settings.yaml:second=2")
    check_experiment(runs, "here", base, value=2)

    git(repository, "checkout", "-q", "--", ".")
    dvc(repository, "exp", "run", "--queue", "--name", "queued", "--set-param", "settings.yaml:second=3")
    dvc(repository, "queue", "start")
    check_experiment(runs, "queued", base, value=3)

    settings(repository, first=1, second=4)
    run(repository, sys.executable, "-m", "flows.reproduce")
    parent, (child,) = runs.new()
    assert (parent.info.run_name, child.info.run_name, child.data.metrics["value"]) == ("reproduce", "second", 4)
    assert runs.lock(parent)["second"]["params"]["settings.yaml"] == {"second": 4}


def check_experiment(runs: Runs, name: str, base: str, value: int) -> None:
    parent, (child,) = runs.new()
    assert (parent.info.run_name, child.info.run_name, child.data.metrics["value"]) == (name, "second", value)
    assert child.data.tags["DVC_EXP_NAME"] == name
    assert child.data.tags["dvc_rev"] == base
    (reference,) = git(runs.root, "for-each-ref", "--format=%(objectname)", f"refs/exps/*/*/{name}").splitlines()
    assert parent.data.tags["dvc_rev"] == reference
    assert runs.lock(parent)["second"]["params"]["settings.yaml"] == {"second": value}
