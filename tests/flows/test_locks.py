"""Others at work in the project: real processes that hold what this one wants."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from flows import locks
from flows.graph import read_graph
from flows.locks import StoppedError, alone, in_use, lock_holder, mend_list, naming_lock_holders
from flows.reproduction import Reproduction, find_dvc_program

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def other(code: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds something: it is there when its first line is."""
    code = f"import time\nfrom pathlib import Path\n{code}"
    environment = os.environ | {"PYTHONPATH": os.fspath(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()


HOLD = """
from flows.locks import alone
with alone(Path.cwd(), print):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_reproduction_waits_and_a_killed_one_is_not_waited_for(tmp_path: Path) -> None:
    said: list[str] = []
    with other(HOLD, tmp_path) as first:

        def end_it(line: str) -> None:
            said.append(line)
            assert first.poll() is None
            first.kill()

        with alone(tmp_path, end_it), alone(tmp_path, end_it):
            assert first.wait() < 0
    assert len(said) == 1
    assert said[0].startswith("another reproduction is at work here since ")
    assert f"(process {first.pid})" in said[0]
    with alone(tmp_path, said.append):
        assert len(said) == 1


def test_who_waits_can_be_stopped(tmp_path: Path) -> None:
    stopped = threading.Event()
    stopped.set()
    with other(HOLD, tmp_path), pytest.raises(StoppedError), alone(tmp_path, lambda line: None, stopped):
        raise AssertionError("two at once")


def test_the_holder_of_dvcs_lock_is_named_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".dvc" / "tmp").mkdir(parents=True)
    monkeypatch.setattr(locks, "PATIENCE_SECONDS", 0.2)
    said: list[str] = []
    assert lock_holder(tmp_path) == ""
    hold = "import zc.lockfile\nlock = zc.lockfile.LockFile('.dvc/tmp/lock')\nprint('held', flush=True)\ntime.sleep(60)"
    with other(hold, tmp_path) as holder, naming_lock_holders(tmp_path, said.append):
        while not said:
            time.sleep(0.05)
        time.sleep(1)  # it has been said; five times its patience later, still once
        assert lock_holder(tmp_path).startswith(f"{holder.pid} (")
    assert len(said) == 1
    assert f"by process {holder.pid} ({sys.executable}" in said[0]
    assert lock_holder(tmp_path) == ""


def test_a_stage_in_use_by_somebodys_own_dvc_is_waited_for(empty_project: Path) -> None:
    wait = "while [ ! -e go ]; do sleep 0.1; done"
    stages = {"slow": {"cmd": f"{wait}; echo $$ > slow.txt", "outs": ["slow.txt"]}}
    (empty_project / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    work = Reproduction(empty_project, read_graph(empty_project))
    command = [find_dvc_program(), "repro", "slow"]
    own = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    rwlock = empty_project / ".dvc" / "tmp" / "rwlock"
    while not (rwlock.is_file() and "slow.txt" in rwlock.read_text()):
        assert own.poll() is None
        time.sleep(0.05)
    said: list[str] = []

    def let_it_end(line: str) -> None:
        said.append(line)
        if line.startswith("waiting for "):
            (empty_project / "go").touch()

    assert work.begin() == ["slow"]
    result = work.run("slow", let_it_end)
    assert own.wait() == 0
    assert result.outcome == "unchanged"
    waiting = [line for line in said if line.startswith("waiting for ")]
    assert len(waiting) == 1
    assert f"slow.txt, which is in use by process {own.pid} (" in waiting[0]
    lock = yaml.safe_load((empty_project / "dvc.lock").read_text())
    assert set(lock["stages"]) == {"slow"}


@pytest.mark.parametrize("left", ["", '{"write": {}, "read": {"/p": [{"pid": 1'])
def test_a_list_that_a_killed_dvc_left_half_written_stops_nobody(empty_project: Path, left: str) -> None:
    (empty_project / "dvc.yaml").write_text("stages: {a: {cmd: echo 1 > a.txt, outs: [a.txt]}}")
    (empty_project / ".dvc" / "tmp").mkdir(exist_ok=True)
    (empty_project / ".dvc" / "tmp" / "rwlock").write_text(left)
    graph = read_graph(empty_project)
    work = Reproduction(empty_project, graph)
    assert work.begin() == ["a"]
    assert work.run("a", print).outcome == "ran"


def test_a_list_that_is_being_written_or_is_whole_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / ".dvc" / "tmp"
    folder.mkdir(parents=True)
    mend_list(tmp_path)
    whole = json.dumps({"read": {"/p": [{"pid": os.getpid(), "cmd": "dvc gc"}]}, "write": {}})
    hold = (
        "import zc.lockfile\nlock = zc.lockfile.LockFile('.dvc/tmp/rwlock.lock')\nprint('held', flush=True)\n"
        f"time.sleep(1)\nPath('.dvc/tmp/rwlock').write_text({whole!r})\nlock.close()\ntime.sleep(60)"
    )
    (folder / "rwlock").write_text("")
    with other(hold, tmp_path):
        mend_list(tmp_path)
    assert (folder / "rwlock").read_text() == whole


def test_what_a_dead_process_left_in_dvcs_list_is_no_reason_to_wait(empty_project: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    (empty_project / "dvc.yaml").write_text("stages: {a: {cmd: echo 1 > a.txt, outs: [a.txt]}}")
    (empty_project / ".dvc" / "tmp").mkdir(exist_ok=True)
    entry = {"pid": gone.pid, "cmd": "dvc repro"}
    left = {"write": {str(empty_project / "a.txt"): entry}, "read": {}}
    (empty_project / ".dvc" / "tmp" / "rwlock").write_text(json.dumps(left))
    said: list[str] = []
    work = Reproduction(empty_project, read_graph(empty_project))
    assert work.begin() == ["a"]
    assert work.run("a", said.append).outcome == "ran"
    assert not [line for line in said if line.startswith("waiting for ")]


def test_what_dvc_says_of_a_path_in_use() -> None:
    lines = [
        "ERROR: failed to reproduce 'a': '/p/out' is busy, it is being blocked by:",
        "  (PID 7): dvc repro",
        "  (PID 8): dvc gc",
    ]
    sentence = "waiting for /p/out, which is in use by process 7 (dvc repro); process 8 (dvc gc)"
    assert in_use(lines) == (sentence, [7, 8])
    assert in_use(["ERROR: failed to reproduce 'a': failed to run"]) is None
