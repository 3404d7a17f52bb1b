"""Runs that nobody is there to start: a Prefect server of its own, a worker, schedules, and what dies in the night."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from flows.deployments import WATCH
from flows.reproduction import find_dvc_program
from flows.server import DEAD
from tests.pipeline.repositories import clean_environment, commit, make_repository
from tests.stages.tiny_corpus import make_corpus

# What the weights are after so many steps: the digest would differ by one bit of one weight.
TABLE = """
import hashlib, pathlib
digest = hashlib.sha256(pathlib.Path("train_f0_vq/model.safetensors").read_bytes()).hexdigest()
table = pathlib.Path("tables/f0")
table.mkdir(parents=True, exist_ok=True)
(table / "table.md").write_text("| weights |\\n|---|\\n| " + digest + " |\\n")
(table / "table.csv").write_text("weights\\n" + digest + "\\n")
pathlib.Path("reports").mkdir(exist_ok=True)
pathlib.Path("reports/index.html").write_text(digest)
"""
# An empty database to use instead of a file, as postgresql+asyncpg://user:password@host/name.
DATABASE = "TEST_PREFECT_DATABASE"


def trimmed(project: Path, root: Path) -> Path:
    """The project with one training stage on a corpus of two voices, a table of it, and a stage that takes long."""
    make_repository(project, root)
    make_corpus(root / "data" / "tiny", 12)
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["roles"] = dict.fromkeys(params["roles"], "tiny")
    params["corpora"] = {"tiny": {"adapter": "folder", "root": "recordings"}}
    training = params["train_f0_vq"]
    training["model"] |= {"embedding_dim": 8, "width": 4, "depth": 1, "downs": 1}
    loop = {"steps": 60, "batch_size": 2, "segment_samples": 1280, "log_every": 10}
    training["loop"] |= loop | {"validate_every": 20, "checkpoint_every": 2}
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    graph = yaml.safe_load((project / "dvc.yaml").read_text())["stages"]
    (root / "table.py").write_text(TABLE)
    table = {"cmd": "python table.py", "deps": ["train_f0_vq", "table.py"], "outs": ["tables/f0"]}
    stages = {
        "train_f0_vq": graph["train_f0_vq"],
        "tables": table,
        "slow": {"cmd": "sleep 300; touch slow", "outs": ["slow"]},
    }
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    commit(root, "trim")
    return root


@dataclass
class Served:
    """A repository and the server that its runs report to."""

    root: Path
    environment: dict[str, str]
    api: httpx.Client
    server: subprocess.Popen[bytes] | None = None

    def serve(self) -> None:
        """Start the server, and wait until it answers."""
        command = ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.api.base_url.port)]
        log = Path(self.environment["PREFECT_HOME"]) / "server.log"
        self.server = self.start(*command, log=log)
        while not is_healthy(self.api):
            assert self.server.poll() is None, log.read_text()
            time.sleep(0.2)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", *command], cwd=self.root, env=self.environment, capture_output=True, text=True
        )

    def start(self, *command: str, log: Path) -> subprocess.Popen[bytes]:
        with log.open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=self.root,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def ask(self, path: str, **body: Any) -> Any:
        return self.request("POST", path, json=body)

    def request(self, method: str, path: str, **options: Any) -> Any:
        """What the server answers, once its database is not too busy to."""
        while (answer := self.api.request(method, path, **options)).status_code == httpx.codes.SERVICE_UNAVAILABLE:
            time.sleep(0.5)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def begun(self, deployment: str) -> dict[str, Any] | None:
        """The deployment's run that is at work."""
        runs = {"state": {"name": {"any_": ["Running"]}}}
        found = self.ask("/flow_runs/filter", deployments={"name": {"any_": [deployment]}}, flow_runs=runs)
        return found[0] if found else None

    def state(self, run: str) -> dict[str, Any]:
        state = self.request("GET", f"/flow_runs/{run}")["state"]
        return {"name": state["name"], "message": state["message"]}


def wait_for(what: Callable[[], Any], seconds: float) -> Any:
    """What ``what`` returns once that is something."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)
    return found


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process at once, with all that it started."""
    if process.poll() is None:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        process.kill()
    process.wait()


@pytest.fixture
def served(project: Path, tmp_path: Path) -> Iterator[Served]:
    """A trimmed project, and a server."""
    home = tmp_path / "prefect"
    root = trimmed(project, home / "project")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    environment = clean_environment(root) | {
        "PREFECT_HOME": os.fspath(home),
        "PREFECT_API_URL": url,
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": os.environ.get(DATABASE)
        or f"sqlite+aiosqlite:///{home / 'prefect.db'}",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EVENTS_PROACTIVE_GRANULARITY": "PT1S",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
    }
    served = Served(root, environment, httpx.Client(base_url=url, timeout=30))
    try:
        served.serve()
        yield served
    finally:
        if served.server:
            end(served.server)


def is_healthy(api: httpx.Client) -> bool:
    try:
        return api.get("/health").is_success
    except httpx.TransportError:
        return False


def deploy_soon(served: Served) -> None:
    """Register the deployments, the nightly one every ten seconds instead of every night, and of the table alone."""
    path = served.root / "prefect.yaml"
    text = path.read_text()
    for old, new in (
        ('cron: "0 2 * * *"', "interval: 10"),
        ("parameters: {}", "parameters: {targets: [tables]}"),
    ):
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    done = served.run("flows.deployments")
    assert done.returncode == 0, done.stdout + done.stderr


def stage_process(root: Path, name: str) -> psutil.Process:
    """The process of a stage at work."""

    def find() -> psutil.Process | None:
        for process in psutil.process_iter():
            try:
                if process.cmdline()[1:3] == ["-m", f"stages.{name}"] and Path(process.cwd()) == root:
                    return process
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
        return None

    return wait_for(find, 60)


def test_nights_on_a_real_server(served: Served, tmp_path: Path) -> None:
    """One test, because a server and a worker take their time to start."""
    deploy_soon(served)
    command = ["prefect", "worker", "start", "--pool", "respeak", "--limit", "1"]
    worker = served.start(*command, log=tmp_path / "worker.log")
    try:
        a_scheduled_run_survives_the_kill_of_its_training(served, tmp_path)
        a_run_that_dies_with_its_worker_is_known_as_crashed(served, worker)
    finally:
        end(worker)


def a_scheduled_run_survives_the_kill_of_its_training(served: Served, tmp_path: Path) -> None:
    """A worker picks it up when it is due; training is killed in the middle, and goes on; the table is the same.

    So is the server, which comes back.
    """
    unbroken = tmp_path / "unbroken"
    shutil.copytree(served.root, unbroken)
    own = clean_environment(unbroken) | {"RESPEAK_TRACKING": "local"}
    repro = subprocess.Popen([find_dvc_program(), "repro", "tables"], cwd=unbroken, env=own, stdout=subprocess.DEVNULL)
    run = wait_for(lambda: served.begun("nightly"), 60)
    served.ask(f"/deployments/{run['deployment_id']}/pause_deployment")
    training = stage_process(served.root, "train_f0_vq")
    wait_for(lambda: list((served.root / ".scratch").glob("train_f0_vq/*/last.ckpt")), 60)
    training.send_signal(signal.SIGKILL)
    assert served.server
    end(served.server)
    served.serve()
    wait_for(lambda: served.state(run["id"])["name"] != "Running", 120)
    log = (tmp_path / "worker.log").read_text()
    assert served.state(run["id"]) == {"name": "Completed", "message": "2 ran"}, log
    whole = served.request("GET", f"/flow_runs/{run['id']}")
    assert whole["auto_scheduled"] and whole["name"] == "tables at demo"
    assert "ended by SIGKILL" in log
    assert "resuming after step" in log
    assert repro.wait(120) == 0
    for name in ("table.md", "table.csv"):
        assert (served.root / "tables/f0" / name).read_bytes() == (unbroken / "tables/f0" / name).read_bytes()
    check_artifacts(served, run["id"])
    # Killed, then gone on with; the table, which is no stage of ours, leaves no run; nothing else ran.
    with sqlite3.connect(served.root / "mlflow.db") as database:
        runs = database.execute("SELECT run_uuid, name, status FROM runs").fetchall()
        parents = dict(database.execute("SELECT run_uuid, value FROM tags WHERE key = 'mlflow.parentRunId'"))
    ((parent, _, status),) = [found for found in runs if found[1] == "reproduce"]
    assert status == "FINISHED"
    children = [(name, status) for run_id, name, status in runs if parents.get(run_id) == parent]
    assert sorted(children) == [("train_f0_vq", "FINISHED"), ("train_f0_vq", "KILLED")]
    assert len(runs) == 3


def check_artifacts(served: Served, run: str) -> None:
    """What is to be seen of a run in Prefect's pages."""
    found = served.ask("/artifacts/latest/filter", artifacts={"flow_run_id": {"any_": [run]}})
    shown = {artifact["key"]: artifact for artifact in found}
    assert shown["progress-train-f0-vq"]["data"] == 100.0
    assert "step 60/60" in shown["progress-train-f0-vq"]["description"]
    table = json.loads(shown["table-f0"]["data"])
    assert [list(row) for row in table] == [["weights"]]
    assert (served.root / "reports" / "index.html").as_uri() in shown["report"]["data"]


def a_run_that_dies_with_its_worker_is_known_as_crashed(served: Served, worker: subprocess.Popen[bytes]) -> None:
    """The watch that `flows.deployments` set is made impatient; then everything that could speak of the run dies."""
    impatient = [sys.executable, "-c", "from flows.deployments import watch; watch(10)"]
    subprocess.run(impatient, cwd=served.root, env=served.environment, check=True)
    (watch,) = served.ask("/automations/filter", automations={"name": {"any_": [WATCH]}})
    assert watch["trigger"]["within"] == 10.0
    (deployment,) = served.ask("/deployments/filter", deployments={"name": {"any_": ["nightly"]}})
    run = served.ask(f"/deployments/{deployment['id']}/create_flow_run", parameters={"targets": ["slow"]})["id"]
    beat = {"event": {"name": ["prefect.flow-run.heartbeat"]}, "resource": {"id": [f"prefect.flow-run.{run}"]}}
    wait_for(lambda: served.ask("/events/filter", filter=beat)["events"], 60)
    end(worker)
    assert served.state(run)["name"] == "Running"
    wait_for(lambda: served.state(run)["name"] != "Running", 60)
    assert served.state(run)["name"] == "Crashed"
    assert served.state(run)["message"].startswith(DEAD)
