"""Whole reproductions as a person starts them: many stages at once, and Ctrl-C in the middle."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from flows.locks import lock_holder
from flows.reproduction import find_dvc_program
from flows.server import DEAD

ROOT = Path(__file__).resolve().parents[2]
TOGETHER = 14
# Each stage is done when all have begun, so that all end in the same moment.
WAIT_FOR_ALL = f"touch begun_${{item}}; while [ $(ls begun_* | wc -l) -lt {TOGETHER} ]; do sleep 0.1; done"

SLOW = "touch begun; for i in $(seq 100); do echo $i; sleep 1; done; cp done.txt slow.txt"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run([find_dvc_program(), "init", "-q"], cwd=tmp_path, check=True)
    return tmp_path


def environment() -> dict[str, str]:
    own = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_API", "RESPEAK_", "DVC_", "MLFLOW_"))}
    return own | {"PYTHONPATH": os.fspath(ROOT), "RESPEAK_TRACKING": "local", "DVC_NO_ANALYTICS": "1"}


def write_stages(project: Path, stages: dict[str, object]) -> None:
    (project / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))


def processes_in(project: Path) -> list[str]:
    """Commands of what runs in a folder, whoever started it."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(project) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline()))
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def test_stages_that_end_together_are_all_recorded(project: Path) -> None:
    command = f"{WAIT_FOR_ALL}; touch ended_${{item}}; cp a.txt b_${{item}}"
    write_stages(
        project,
        {
            "a": {"cmd": "echo 1 > a.txt", "outs": ["a.txt"]},
            "b": {
                "foreach": list(range(TOGETHER)),
                "do": {
                    "cmd": command,
                    "deps": ["a.txt"],
                    "outs": ["b_${item}"],
                },
            },
        },
    )
    start = (
        "import sys, flows.reproduction as r; r.available_cores = lambda: "
        f"{TOGETHER}; from flows.reproduce import main; sys.exit(main([]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", start], cwd=project, env=environment(), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Completed: {TOGETHER + 1} ran" in done.stdout
    lock = yaml.safe_load((project / "dvc.lock").read_text())["stages"]
    assert set(lock) == {"a", *(f"b@{i}" for i in range(TOGETHER))}
    ends = [(project / f"ended_{i}").stat().st_mtime for i in range(TOGETHER)]
    assert max(ends) - min(ends) < 1.0
    again = subprocess.run(
        [find_dvc_program(), "repro"], cwd=project, env=environment(), capture_output=True, text=True
    )
    assert "Data and pipelines are up to date" in again.stdout + again.stderr


def start(project: Path, stages: dict[str, object] | None = None) -> subprocess.Popen[str]:
    """A reproduction at work on a stage that makes the file ``begun``."""
    chain: dict[str, object] = {
        "done": {"cmd": "echo 1 > done.txt", "outs": ["done.txt"]},
        "slow": {"cmd": SLOW, "deps": ["done.txt"], "outs": ["slow.txt"]},
        "after": {"cmd": "cp slow.txt after.txt", "deps": ["slow.txt"], "outs": ["after.txt"]},
    }
    write_stages(project, stages or chain)
    process = begin(project)
    while not (project / "begun").exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    return process


def begin(project: Path) -> subprocess.Popen[str]:
    """A reproduction in a session of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "flows.reproduce"],
        cwd=project,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def test_ctrl_c_leaves_nothing_running_and_nothing_locked(project: Path) -> None:
    process = start(project)
    # As a terminal does: everything in the foreground gets it, not this program alone.
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "Cancelled: 1 ran, 1 stopped, 1 not started" in output
    assert "Traceback" not in output
    assert processes_in(project) == []
    assert lock_holder(project) == ""
    entries = json.loads((project / ".dvc" / "tmp" / "rwlock").read_text())
    assert not any(entries.get("read", {}).values())
    assert not any(entries.get("write", {}).values())
    assert set(yaml.safe_load((project / "dvc.lock").read_text())["stages"]) == {"done"}
    assert states(project) == [("reproduce", "Cancelled", "1 ran, 1 stopped, 1 not started")]


def test_a_second_reproduction_waits_for_the_first_and_finds_nothing_to_do(project: Path) -> None:
    stages = {"slow": {"cmd": "touch begun; while [ ! -e go ]; do sleep 0.1; done; touch slow", "outs": ["slow"]}}
    first, second = start(project, stages), begin(project)
    assert second.stdout
    assert "another reproduction is at work here since" in (said := second.stdout.readline())
    assert f"(process {first.pid}): waiting for it" in said
    (project / "go").touch()
    output, _ = first.communicate(timeout=60)
    assert "Completed: 1 ran" in output
    assert "Nothing to do: all 1 stages are up to date." in second.communicate(timeout=60)[0]
    assert (first.returncode, second.returncode) == (0, 0)
    assert len(states(project)) == 1


def test_a_killed_reproduction_is_known_as_crashed_by_the_next_one(project: Path) -> None:
    process = start(project)
    process.kill()
    process.communicate()
    # The server goes with it, and its stage at the first line that nobody reads.
    deadline = time.monotonic() + 30
    while (left := processes_in(project)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert left == []
    assert states(project)[0][1] == "Running"
    write_stages(project, {"done": {"cmd": "echo 1 > done.txt", "outs": ["done.txt"]}, "more": {"cmd": "echo more"}})
    command = [sys.executable, "-m", "flows.reproduce"]
    done = subprocess.run(command, cwd=project, env=environment(), capture_output=True, text=True, timeout=120)
    assert "Completed: 1 unchanged, 1 ran" in done.stdout, done.stdout + done.stderr
    assert states(project) == [("reproduce", "Crashed", DEAD), ("reproduce", "Completed", "1 unchanged, 1 ran")]
    with sqlite3.connect(project / ".prefect" / "prefect.db") as database:
        tasks = database.execute("SELECT name, state_name FROM task_run").fetchall()
    assert ("slow", "Crashed") in tasks
    assert "Running" not in dict(tasks).values()


def states(project: Path) -> list[tuple[str, str, str]]:
    """Flow, state and message of every run, as the project's own Prefect server has kept them."""
    query = (
        "SELECT f.name, s.name, s.message FROM flow_run r JOIN flow f ON f.id = r.flow_id "
        "JOIN flow_run_state s ON s.id = r.state_id ORDER BY r.created"
    )
    with sqlite3.connect(project / ".prefect" / "prefect.db") as database:
        return list(database.execute(query))
