"""A sweep at smoke scale, interrupted and continued: what is finished stays, DVC and MLflow agree to the digit."""

from __future__ import annotations

import csv
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flows.experiments import named_metrics, running
from flows.reproduction import find_dvc_program
from tests.pipeline.repositories import clean_environment, commit, git, make_repository

# One corpus in all roles and one system: a dozen stages.
GRID = ["kmeans.k=20,40", "scale=smoke", "roles.target=demo"]
COMMAND = [sys.executable, "-m", "flows.sweep", *GRID, "--target", "evaluate@resynthesis", "--jobs", "1"]


@pytest.fixture(scope="module")
def repository(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as it stands, in a git repository of its own, with what another run has measured."""
    root = make_repository(project, tmp_path_factory.mktemp("sweep") / "project")
    stale = root / "evaluate/polyak2/conversion" / "metrics.json"
    stale.parent.mkdir(parents=True)
    stale.write_text('{"wer": 1.5}')
    commit(root, "results of another run")
    return root


def start(root: Path) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    environment = clean_environment(root)
    return subprocess.Popen(COMMAND, cwd=root, env=environment, text=True, start_new_session=True, **pipes)


def interrupt_at(root: Path, pattern: str) -> tuple[int, str]:
    """Ctrl-C once a line matches."""
    process, heard = start(root), ""
    assert process.stdout
    for line in process.stdout:
        heard += line
        if re.search(pattern, line):
            process.send_signal(signal.SIGINT)
            break
    rest, _ = process.communicate(timeout=120)
    return process.returncode, heard + rest


def shown(root: Path) -> dict[str, dict[str, float]]:
    """What DVC shows of the target; beside it, it shows the other run's conversion, which nobody here has measured."""
    command = [find_dvc_program(), "exp", "show", "--json"]
    output = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    found = {}
    for experiment in json.loads(output)[1]["experiments"]:
        metrics = experiment["revs"][0]["data"]["metrics"]
        values = named_metrics({path: entry.get("data") or {} for path, entry in metrics.items()})
        assert values.pop("conversion/wer") == 1.5
        found[experiment["name"]] = values
    return found


def test_an_interrupted_sweep_continues_and_everyone_has_the_same_numbers(repository: Path) -> None:
    status, log = interrupt_at(repository, r"k40-\w+ .*stages\.train_resynthesis")
    assert status == 130, log
    (first,) = shown(repository)
    assert first.startswith("k20-")
    assert not running(repository)

    process = start(repository)
    log, _ = process.communicate(timeout=600)
    assert process.returncode == 0, log
    assert "skipped (finished before)" in log
    assert re.search(r"k40-\w+ .*Stage 'kmeans' is cached", log)
    assert not re.search(r"k20-\w+ .*stages\.", log)
    assert "1 unchanged, 1 ran" in log

    metrics = shown(repository)
    assert len(metrics) == 2
    assert all("resynthesis/wer" in found for found in metrics.values())
    (table,) = repository.glob("sweeps/*/table.csv")
    rows = {row["experiment"]: row for row in csv.DictReader(table.read_text().splitlines())}
    for name, found in metrics.items():
        assert {key: float(rows[name][key]) for key in found} == found
        assert "conversion/wer" not in rows[name]
    assert (table.parent / "wer.png").read_bytes().startswith(b"\x89PNG")
    check_mlflow(repository, metrics)
    # The user's own tree is as it was, and nothing is left behind.
    for arguments in (["status", "--short"], ["stash", "list"]):
        assert git(repository, *arguments) == ""
    assert not [path for path in (repository / ".dvc/tmp/exps/standalone").iterdir() if path.name != "run"]


def check_mlflow(root: Path, metrics: dict[str, dict[str, float]]) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{root / 'mlflow.db'}")
    runs = client.search_runs(["1"], max_results=500)
    children: dict[str, list[str]] = {}
    for run in runs:
        children.setdefault(run.data.tags.get("mlflow.parentRunId", ""), []).append(str(run.info.run_name))
    sweeps = [run for run in runs if str(run.info.run_name).startswith("sweep ")]
    assert sorted(run.info.status for run in sweeps) == ["FINISHED", "KILLED"]
    for name, found in metrics.items():
        (run,) = [run for run in runs if run.info.run_name == name and run.info.status == "FINISHED"]
        assert run.data.metrics == found
        assert run.data.tags["mlflow.parentRunId"] in {sweep.info.run_id for sweep in sweeps}
        assert run.data.params["kmeans.k"] == re.match(r"k(\d+)", name)[1]
        ran = children[run.info.run_id]
        # The second went on: what was finished before Ctrl-C was restored, and is no run.
        assert ("kmeans" in ran, "evaluate@resynthesis" in ran) == (name.startswith("k20"), True)
    (finished,) = [run for run in sweeps if run.info.status == "FINISHED"]
    names = {artifact.path for artifact in client.list_artifacts(finished.info.run_id)}
    assert {"table.md", "table.csv", "wer.png"} <= names
