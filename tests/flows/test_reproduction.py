"""Reproductions of small DVC projects, by real `dvc` processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

from flows.children import Children, Ending
from flows.cores import Cores
from flows.graph import Node, below, compose_params, read_graph
from flows.reproduce import describe, main
from flows.reproduction import Reproduction, find_dvc_program, judge
from speech.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
STAGES = {
    "a": {"cmd": "echo hello; echo 1 > a.txt", "outs": ["a.txt"]},
    "b": {
        "foreach": ["x", "y"],
        "do": {"cmd": "sleep 1; cat a.txt > b_${item}.txt", "deps": ["a.txt"], "outs": ["b_${item}.txt"]},
    },
    "bad": {"cmd": "echo the reason >&2; exit 3", "deps": ["b_x.txt"], "outs": ["bad.txt"]},
    "killed": {"cmd": "kill -9 $$", "deps": ["b_y.txt"], "outs": ["killed.txt"]},
    "after": {"cmd": "echo 1 > after.txt", "deps": ["bad.txt"], "outs": ["after.txt"]},
    "fine": {"cmd": "echo 1 > fine.txt", "deps": ["b_y.txt"], "outs": ["fine.txt"]},
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RESPEAK_TRACKING", "local")
    for name in ("DVC_ROOT", "DVC_STAGE", "PREFECT_API_URL", "RESPEAK_SESSION"):
        monkeypatch.delenv(name, raising=False)
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run([find_dvc_program(), "init", "-q"], check=True)
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES}))
    return tmp_path


def locked_stages(project):
    lock = project / "dvc.lock"
    return set(yaml.safe_load(lock.read_text())["stages"]) if lock.is_file() else set()


def test_graph_is_dvcs(project):
    graph = read_graph(project)
    assert graph["b@x"] == Node("b@x", ("a",), True)
    assert graph["after"].upstream == ("bad",)
    assert list(graph).index("bad") < list(graph).index("after")
    assert below(graph)["b@x"] == {"bad", "after"}
    assert set(read_graph(project, ["killed"])) == {"a", "b@y", "killed"}
    assert set(read_graph(project, ["b"])) == {"a", "b@x", "b@y"}
    assert "7 of 7 stages to run" in describe(graph)
    with pytest.raises(UserError, match="nonsense") as error:
        read_graph(project, ["nonsense"])
    assert "\n" not in str(error.value)


def test_whole_graph_in_prefect(project, capsys):
    """One flow: stages side by side, one fails, one is killed, dependents do not start, the rest is recorded."""
    command = [sys.executable, "-m", "flows.reproduce"]
    environment = os.environ | {"PYTHONPATH": os.fspath(ROOT)}
    first = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert first.returncode == 1
    log = first.stdout + first.stderr
    assert "Failed: 4 ran, 1 failed, 1 crashed, 1 not started" in log
    assert "the reason" in log
    assert "exit status 3" in log
    assert "ended by SIGKILL: most likely out of memory" in log
    assert locked_stages(project) == {"a", "b@x", "b@y", "fine"}
    assert not (project / "after.txt").exists()
    journals = list((project / ".scratch" / "runs").glob("*reproduce*.jsonl"))
    assert len(journals) == 1
    assert '"status": "FAILED"' in journals[0].read_text()

    # What was repaired runs; nothing else does; DVC itself agrees that nothing is left.
    stages = STAGES | {"bad": STAGES["bad"] | {"cmd": "echo 1 > bad.txt"}}
    del stages["killed"]
    (project / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    graph = read_graph(project)
    assert {name for name, node in graph.items() if node.changed} == {"bad", "after"}
    work = Reproduction(project, graph)
    outcomes = {name: work.run(name, lambda line: None).outcome for name in graph}
    assert outcomes == {name: "ran" if name in ("bad", "after") else "unchanged" for name in graph}
    assert main([]) == 0
    assert "Nothing to do" in capsys.readouterr().out
    result = subprocess.run([find_dvc_program(), "repro"], capture_output=True, text=True, check=True)
    assert "Data and pipelines are up to date" in result.stdout + result.stderr


def test_stop_ends_the_stage_and_leaves_no_lock(project):
    stages = {"slow": {"cmd": "echo begun; sleep 60; echo 1 > slow.txt", "outs": ["slow.txt"]}}
    (project / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    work = Reproduction(project, read_graph(project))
    begun = threading.Event()
    task = threading.Thread(target=work.run, args=("slow", lambda line: begun.set() if line == "begun" else None))
    task.start()
    assert begun.wait(20)
    work.children.stop()
    # Well before the stage would have ended by itself.
    task.join(45)
    assert not task.is_alive()
    assert work.results["slow"].outcome == "stopped"
    assert work._run("slow", print).outcome == "stopped"
    assert locked_stages(project) == set()
    assert read_graph(project)["slow"].changed


def test_params_are_composed_as_dvc_does(project):
    (project / ".dvc" / "config").write_text((ROOT / ".dvc" / "config").read_text())
    (project / "conf").symlink_to(ROOT / "conf")
    compose_params(project, ["scale=smoke", "kmeans.k=33"])
    params = yaml.safe_load((project / "params.yaml").read_text())
    assert params["scale"] == "smoke"
    assert params["kmeans"]["k"] == 33
    with pytest.raises(UserError, match="nonsense") as error:
        compose_params(project, ["nonsense.k=1"])
    assert "\n" not in str(error.value)
    assert yaml.safe_load((project / "params.yaml").read_text()) == params


@pytest.mark.parametrize(
    ("status", "tail", "outcome", "words"),
    [
        (0, ("Stage 'a' didn't change, skipping",), "unchanged", "unchanged"),
        (0, ("Stage 'a' is cached - skipping run, checking out outputs",), "restored", "run cache"),
        (0, (), "ran", "ran"),
        (255, ("ERROR: failed to reproduce 'a': failed to run: x, exited with 2",), "failed", "exit status 2"),
        (255, ("ERROR: failed to reproduce 'a': failed to run: x, exited with -9",), "crashed", "SIGKILL"),
        (255, ("ERROR: failed to reproduce 'a': failed to run: x, exited with 137",), "crashed", "SIGKILL"),
        (-11, (), "crashed", "native library"),
        (255, ("ERROR: lock",), "failed", "ERROR: lock"),
    ],
)
def test_endings_in_words(status, tail, outcome, words):
    result = judge(Ending(status, tail), threading.Event())
    assert result.outcome == outcome
    assert words in result.message


def test_lines_come_as_they_are_printed_and_bars_are_thinned():
    lines: list[str] = []
    bar = r"import sys; [sys.stdout.write(f'\r{i} %') for i in range(100)]"
    code = bar + r"; print('\n\x1b[31mred\x1b[0m'); print('a\n\nb', end='')"
    ending = Children().run([sys.executable, "-c", code], os.environ, lines.append)
    assert ending.status == 0
    assert lines[-3:] == ["red", "a", "b"]
    assert len(lines) < 8


def test_cores_are_never_more_than_there_are():
    cores, busy, most, order = Cores(3), 0, 0, []
    never, lock = threading.Event(), threading.Lock()

    def work(name, want):
        nonlocal busy, most
        count = cores.acquire(name, lambda: want, {"late": 0.0}.get(name, 1.0), never)
        with lock:
            busy, order[len(order) :] = busy + count, [name]
            most = max(most, busy)
        time.sleep(0.05)
        with lock:
            busy -= count
        cores.release(count)

    wanted = {"late": 1, "one": 1, "two": 2, "three": 3, "greedy": 9}
    threads = [threading.Thread(target=work, args=item) for item in wanted.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert set(order) == set(wanted)
    assert most == 3
    assert order[-1] == "late"


def test_share_leaves_room_for_stages_beside(project):
    work = Reproduction(project, read_graph(project))
    work.workers, work.threads, work.cores = 8, 4, Cores(8)
    assert work.share("a") == 8
    assert work.share("b@x") == 2
    assert work.share("train_x") == 4


def test_signal_numbers_have_meanings():
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV):
        assert "no further meaning" not in Ending(-number, ()).meaning()
