"""Copies of a process that has imported DVC, beside the ``dvc`` that they stand for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil
import pytest

from flows.children import Children
from flows.forks import Forks
from flows.reproduction import find_dvc_program, stage_environment


def run(forks: Forks, arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> tuple[int, str]:
    reading, writing = os.pipe()
    child = forks.start(arguments, environment or os.environ, writing)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        return child.wait(), pipe.read()


def test_it_says_and_ends_as_dvc_does(empty_project: Path) -> None:
    forks = Forks()
    for arguments in (["root"], ["repro", "nonsense"], ["--no-such-option"], ["version", "-q"]):
        true = subprocess.run(
            [find_dvc_program(), *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        status, said = run(forks, arguments)
        assert (status, said) == (true.returncode, true.stdout), arguments


def test_a_stage_sees_the_environment_and_the_folder_of_its_request(empty_project: Path) -> None:
    (empty_project / "dvc.yaml").write_text(
        "stages: {a: {cmd: 'pwd > where; echo $COLOUR > colour', outs: [where, colour]}}"
    )
    status, said = run(Forks(), ["repro", "a"], os.environ | {"COLOUR": "green"})
    assert status == 0, said
    assert (empty_project / "where").read_text().strip() == os.fspath(empty_project)
    assert (empty_project / "colour").read_text().strip() == "green"


def test_what_is_killed_is_told_by_its_signal_and_others_go_on(empty_project: Path) -> None:
    (empty_project / "dvc.yaml").write_text(
        "stages: {slow: {cmd: 'touch began; sleep 900', outs: [slow]}, quick: {cmd: 'echo 1 > quick', outs: [quick]}}"
    )
    forks = Forks()
    with Path(os.devnull).open("w") as nowhere:
        slow = forks.start(["repro", "slow"], os.environ, nowhere.fileno())
        while not Path("began").exists():
            assert slow.poll() is None
            time.sleep(0.05)
        assert os.getsid(slow.pid) == slow.pid  # Ctrl-C in the terminal reaches the flow alone
        status, said = run(forks, ["--wait-for-lock", "repro", "--single-item", "quick"])
        assert status == 0, said
        os.killpg(slow.pid, signal.SIGKILL)
        assert slow.wait() == -signal.SIGKILL
        assert slow.poll() == -signal.SIGKILL


def test_without_the_process_that_imported_a_stage_counts_as_killed(empty_project: Path) -> None:
    (empty_project / "dvc.yaml").write_text("stages: {slow: {cmd: 'touch began; sleep 900', outs: [slow]}}")
    forks = Forks()
    with Path(os.devnull).open("w") as nowhere:
        slow = forks.start(["repro", "slow"], os.environ, nowhere.fileno())
        parent = psutil.Process(slow.pid).parent()
        assert parent is not None
        parent.kill()
        assert slow.wait() == -signal.SIGKILL
        os.killpg(slow.pid, signal.SIGKILL)
    assert run(forks, ["root"]) == (0, ".\n")  # another one has taken its place


def test_nothing_is_left_running(empty_project: Path) -> None:
    children = Children()
    ending = children.run_dvc(["root"], stage_environment(1, "session"), print)
    assert (ending.status, ending.tail) == (0, (".",))
    imported = [child for child in psutil.Process().children() if "flows.forks" in child.cmdline()]
    assert len(imported) == 1
    del children
    assert psutil.wait_procs(imported, timeout=60)[1] == []


def test_a_copy_of_the_program_itself_serves_as_well_and_holds_nothing_of_its(empty_project: Path) -> None:
    program = """
import fcntl, os
from flows.forks import Forks

with open("lock", "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    forks = Forks()
    forks.copy_this()
reading, writing = os.pipe()
child = forks.start(["root"], os.environ, writing)
os.close(writing)
print(child.wait(), open(reading).read().strip(), flush=True)
fcntl.flock(open("lock"), fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails where the copy holds what was open here
del forks, child
try:
    os.waitpid(-1, 0)
except ChildProcessError:
    print("nothing is left")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=300)
    assert done.stdout.splitlines() == ["0 .", "nothing is left"], done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_stage_ends_by_itself(empty_project: Path, heard_interrupts: None, number: signal.Signals) -> None:
    (empty_project / "dvc.yaml").write_text("stages: {slow: {cmd: 'touch began; exec sleep 900', outs: [slow]}}")
    forks = Forks()
    with Path(os.devnull).open("w") as nowhere:
        slow = forks.start(["repro", "slow"], os.environ, nowhere.fileno())
        while not Path("began").exists():
            assert slow.poll() is None
            time.sleep(0.05)
        os.killpg(slow.pid, number)
        assert slow.wait() not in (0, -signal.SIGKILL)
    assert not Path("dvc.lock").exists()


def test_a_signal_that_comes_at_once_is_not_lost(empty_project: Path, heard_interrupts: None) -> None:
    (empty_project / "dvc.yaml").write_text("stages: {slow: {cmd: 'sleep 900', outs: [slow]}}")
    forks = Forks()
    with Path(os.devnull).open("w") as nowhere:
        for _ in range(20):
            slow = forks.start(["repro", "slow"], os.environ, nowhere.fileno())
            os.killpg(slow.pid, signal.SIGINT)
            assert slow.wait() not in (0, -signal.SIGKILL)
