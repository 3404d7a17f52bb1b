"""Reproductions of small DVC projects, by real `dvc` processes."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
import yaml

from flows.children import Children, Ending
from flows.compose import compose_params
from flows.graph import Node, below, describe, necessary, read_graph, ways
from flows.machine import take_gpu
from flows.reproduce import main
from flows.reproduction import Outcome, Reproduction, Result, final_metrics, find_dvc_program, judge
from speech.errors import UserError
from tests.small_disk import small_disk

ROOT = Path(__file__).resolve().parents[2]
STAGES = {
    "a": {"cmd": "echo hello; echo 1 > a.txt", "outs": ["a.txt"]},
    "b": {
        "foreach": ["x", "y"],
        "do": {"cmd": "sleep 1; cat a.txt > b_${item}.txt", "deps": ["a.txt"], "outs": ["b_${item}.txt"]},
    },
    "bad": {"cmd": "echo once more >> failures; echo the reason >&2; exit 3", "deps": ["b_x.txt"], "outs": ["bad.txt"]},
    "killed": {"cmd": "echo once more >> tries; kill -9 $$", "deps": ["b_y.txt"], "outs": ["killed.txt"]},
    "after": {"cmd": "echo 1 > after.txt", "deps": ["bad.txt"], "outs": ["after.txt"]},
    "fine": {"cmd": "echo 1 > fine.txt", "deps": ["b_y.txt"], "outs": ["fine.txt"]},
}


@pytest.fixture
def project(empty_project):
    (empty_project / "dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES}))
    return empty_project


def locked_stages(project):
    lock = project / "dvc.lock"
    return set(yaml.safe_load(lock.read_text())["stages"]) if lock.is_file() else set()


def task_states(project):
    """Name and message of the last state of each stage, as Prefect's own server has kept them."""
    query = "SELECT r.name, s.name, s.message FROM task_run r JOIN task_run_state s ON s.id = r.state_id"
    with sqlite3.connect(project / ".prefect" / "prefect.db") as database:
        return {name: (state, message) for name, state, message in database.execute(query)}


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


def test_the_fewest_lines_that_state_the_order():
    upstream = {"a": (), "b": ("a",), "c": ("a", "b"), "d": ("a", "c", "b"), "e": ("a",)}
    graph = {name: Node(name, others, False) for name, others in upstream.items()}
    assert necessary(graph) == {"a": set(), "b": {"a"}, "c": {"b"}, "d": {"c"}, "e": {"a"}}


def test_the_longest_way_to_the_end_comes_first():
    upstream = {"a": (), "b": ("a",), "c": ("a",), "d": ("c",), "e": ("b", "d"), "f": ()}
    assert ways({name: Node(name, others, True) for name, others in upstream.items()}) == {
        "a": 4, "b": 2, "c": 3, "d": 2, "e": 1, "f": 1
    }  # fmt: skip
    own = ways(read_graph(ROOT))
    assert own["corpus@demo"] > own["train_resynthesis"] > own["evaluate@resynthesis"] > own["tables@polyak1"]
    assert own["f0@demo"] > own["speakers@demo"]


def end(work: Reproduction, name: str, outcome: Outcome = "ran") -> None:
    """What the flow does when a stage has ended."""
    work.results[name] = Result(outcome, outcome)
    work.leave(name)


def run_all(work: Reproduction) -> dict[str, str]:
    """The flow's loop, without Prefect and with one stage at a time; how each ended."""
    while names := work.begin():
        for name in names:
            work.run(name, print)
            work.leave(name)
    return {name: result.outcome for name, result in work.results.items()}


def run(work: Reproduction, name: str) -> Result:
    """Run a stage that may begin."""
    if name not in work.begin():
        assert name in work._granted  # its second try
    return work.run(name, print)


def test_a_stage_has_its_turn_when_those_before_it_are_left(project):
    work = Reproduction(project, read_graph(project))
    work.cores = work.free = 1
    assert work.begin() == ["a"]
    assert work.begin() == []
    end(work, "a")
    # One core: the stage that more depends on comes first, the other when the first is left.
    assert work.begin() == ["b@x"]
    end(work, "b@x", "failed")
    assert set(work.begin()) == {"bad", "b@y"}  # one to be told that it cannot begin, one to run
    work.leave("bad")
    assert work.begin() == ["after"]
    work.children.stopped.set()
    work.leave("after")
    end(work, "b@y", "stopped")
    assert set(work.begin()) == {"fine", "killed"}
    assert work.free == 1


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
    assert (project / "tries").read_text().count("once more") == 2
    assert (project / "failures").read_text().count("once more") == 1
    assert locked_stages(project) == {"a", "b@x", "b@y", "fine"}
    assert not (project / "after.txt").exists()
    journals = list((project / ".scratch" / "runs").glob("*reproduce*.jsonl"))
    assert len(journals) == 1
    assert '"status": "FAILED"' in journals[0].read_text()

    states = task_states(project)
    assert {name: state for name, (state, _) in states.items()} == {
        "a": "Completed",
        "b@x": "Completed",
        "b@y": "Completed",
        "bad": "Failed",
        "killed": "Crashed",
        "after": "NotReady",
        "fine": "Completed",
    }
    assert states["bad"][1].startswith("exit status 3\n")
    assert "the reason" in states["bad"][1]
    assert states["killed"][1].startswith("ended by SIGKILL: most likely out of memory")

    # What was repaired runs; nothing else does; DVC itself agrees that nothing is left.
    stages = STAGES | {"bad": STAGES["bad"] | {"cmd": "echo 1 > bad.txt"}}
    del stages["killed"]
    (project / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    graph = read_graph(project)
    assert {name for name, node in graph.items() if node.changed} == {"bad", "after"}
    work = Reproduction(project, graph)
    assert run_all(work) == {name: "ran" if name in ("bad", "after") else "unchanged" for name in graph}
    assert main([]) == 0
    assert "Nothing to do" in capsys.readouterr().out
    result = subprocess.run([find_dvc_program(), "repro"], capture_output=True, text=True, check=True)
    assert "Data and pipelines are up to date" in result.stdout + result.stderr


def test_stop_ends_the_stage_and_leaves_no_lock(project, heard_interrupts):
    stages = {"slow": {"cmd": "echo begun; sleep 900; echo 1 > slow.txt", "outs": ["slow.txt"]}}
    (project / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    work = Reproduction(project, read_graph(project))
    begun = threading.Event()
    assert work.begin() == ["slow"]
    task = threading.Thread(target=work.run, args=("slow", lambda line: begun.set() if line == "begun" else None))
    task.start()
    assert begun.wait(120)
    work.children.stop()
    # Well before the stage would have ended by itself.
    task.join(300)
    assert not task.is_alive()
    assert work.results["slow"].outcome == "stopped"
    assert work._run("slow", print).outcome == "stopped"
    assert locked_stages(project) == set()
    assert read_graph(project)["slow"].changed


@pytest.fixture
def composed(project):
    """A project with the parameters and the graph of this one, at its smallest size."""
    (project / ".dvc" / "config").write_text((ROOT / ".dvc" / "config").read_text())
    (project / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text())
    (project / "conf").symlink_to(ROOT / "conf")
    compose_params(project, ["scale=smoke", "kmeans.k=33"])
    return project


def test_params_are_composed_as_dvc_does(composed):
    params = yaml.safe_load((composed / "params.yaml").read_text())
    assert params["scale"] == "smoke"
    assert params["kmeans"]["k"] == 33
    refused = {
        "nonsense.k=1": r"there is no parameter 'nonsense\.k'",
        "kmeans.kk=1": r"there is no parameter 'kmeans\.kk' \(did you mean kmeans\.k",
        "scale=huge": "there is no scale 'huge'; there are demo, paper, small, smoke$",
        "kmeans.k=[": "input",
        "kmeans.k=1": r"^-S kmeans\.k=1: kmeans: k must be between 2 and 65535",
        "kmeans.k=many": r"kmeans\.k",
    }
    for override, message in refused.items():
        with pytest.raises(UserError, match=message) as error:
            compose_params(composed, [override])
        assert "\n" not in str(error.value)
    assert yaml.safe_load((composed / "params.yaml").read_text()) == params


def test_a_link_to_nothing_below_a_dependency_is_named(project):
    (project / "recordings").mkdir()
    (project / "recordings" / "lost.wav").symlink_to("nowhere.wav")
    stages = {"read": {"cmd": "true", "deps": ["recordings"]}}
    (project / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    with pytest.raises(UserError, match=r"recordings/lost\.wav: points to nothing"):
        read_graph(project)


def test_a_dry_run_plans_one_table_and_leaves_all_as_it_was(composed, capsys):
    before = (composed / "params.yaml").read_bytes()
    assert main(["--dry-run", "-S", "kmeans.k=44", "--target", "tables@polyak1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    named = {line.split()[0]: line for line in lines[:-1]}
    assert " run " in named["kmeans"]
    assert {"corpus@demo", "train_resynthesis", "evaluate@resynthesis"} < set(named)
    assert [name for name in named if name.startswith(("tables", "report"))] == ["tables@polyak1"]
    assert lines[-1] == f"{len(named)} of {len(named)} stages to run"
    assert (composed / "params.yaml").read_bytes() == before
    assert not (composed / "dvc.lock").exists()
    assert main(["--dry-run", "-S", "nonsense.k=1"]) == 2
    assert (composed / "params.yaml").read_bytes() == before
    assert main(["--dry-run", "--target", "nonsense"]) == 2
    assert capsys.readouterr().err.count("error: ") == 2


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
        (255, ("error: a.parquet: gone", "ERROR: failed to run: x, exited with 75"), "crashed", "a.parquet: gone"),
        (255, ("error: the disk is full", "ERROR: failed to run: x, exited with 71"), "crashed", "the disk is full"),
        (255, ("ERROR: unexpected error - [Errno 28] No space left on device",), "crashed", "while DVC kept"),
        (255, ("ERROR: unexpected error - database is locked",), "crashed", "DVC's own database"),
    ],
)
def test_endings_in_words(status, tail, outcome, words):
    result = judge(Ending(status, tail), threading.Event())
    assert result.outcome == outcome
    assert words in result.message


@pytest.mark.parametrize(
    ("status", "tail", "expected"),
    [
        (255, ("ERROR: failed to run: x, exited with -9",), True),
        (255, ("ERROR: failed to run: x, exited with 75",), True),
        (255, ("ERROR: unexpected error - database is locked",), True),
        (255, ("ERROR: failed to run: x, exited with 71",), False),
        (255, ("ERROR: failed to run: x, exited with -15",), False),
        (255, ("ERROR: failed to run: x, exited with -11",), False),
        (255, ("ERROR: failed to run: x, exited with 1",), False),
        (255, ("ERROR: unexpected error - [Errno 28] No space left on device",), False),
        (0, ("a line that says: database is locked",), False),
    ],
)
def test_only_what_may_pass_is_tried_again(status, tail, expected):
    assert Ending(status, tail).may_pass is expected


def test_a_stage_killed_once_is_tried_again_with_half_the_workers(project, monkeypatch):
    monkeypatch.setattr("flows.reproduction.available_cores", lambda: 4)
    command = "echo $RESPEAK_WORKERS >> workers; test -f killed || { touch killed; kill -9 $$; }; echo 1 > once.txt"
    stages = {"once": {"cmd": command, "outs": ["once.txt"]}}
    (project / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    work = Reproduction(project, read_graph(project))
    work.workers = 4
    first = run(work, "once")
    assert (first.outcome, first.again) == ("crashed", True)
    assert "once" not in work.results
    assert run(work, "once").outcome == "ran"
    assert (project / "workers").read_text().split() == ["4", "2"]
    assert locked_stages(project) == {"once"}


def test_what_a_killed_dvc_leaves_running_is_ended_too(tmp_path):
    marker = tmp_path / "late"
    start = time.monotonic()
    ending = Children().run(["sh", "-c", f"(sleep 900; touch {marker}) & kill -9 $$"], os.environ, print)
    assert ending.status == -9
    assert time.monotonic() - start < 300  # well before it would have ended by itself


def test_a_disk_that_fills_while_dvc_keeps_an_output_is_told_and_nothing_is_recorded(project):
    command = "head -c 3000000 /dev/urandom > big.bin"
    (project / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"big": {"cmd": command, "outs": ["big.bin"]}}}))
    with small_disk(project / ".dvc" / "cache"):
        work = Reproduction(project, read_graph(project))
        result = run(work, "big")
        assert result.outcome == "crashed", result.message
        assert result.message.startswith("the disk filled while DVC kept the outputs: make room and run again")
        assert locked_stages(project) == set()
        assert read_graph(project)["big"].changed
    assert run(Reproduction(project, read_graph(project)), "big").outcome == "ran"
    assert locked_stages(project) == {"big"}


def test_lines_come_as_they_are_printed_and_bars_are_thinned():
    lines: list[str] = []
    bar = r"import sys; [sys.stdout.write(f'\r{i} %') for i in range(100)]"
    code = bar + r"; print('\n\x1b[31mred\x1b[0m'); print('a\n\nb', end='')"
    ending = Children().run([sys.executable, "-c", code], os.environ, lines.append)
    assert ending.status == 0
    assert lines[-3:] == ["red", "a", "b"]
    assert len(lines) < 8


def test_cores_are_never_more_than_there_are(tmp_path, monkeypatch):
    """And nobody overtakes a stage that needs more than are free."""
    wanted = {"one": 1, "three": 3, "greedy": 9, "late": 1}
    monkeypatch.setattr(Reproduction, "share", lambda work, name: wanted[name])
    graph = {name: Node(name, (), True) for name in wanted}
    work = Reproduction(tmp_path, graph)
    work.cores = work.free = 3
    work._ways = {"one": 3, "three": 3, "greedy": 2, "late": 1}
    order, most = [], 0
    while begun := work.begin():
        most = max(most, sum(grant.cores for grant in work._granted.values()))
        order.append(begun)
        for name in begun:
            end(work, name)
    assert order == [["one"], ["three"], ["greedy"], ["late"]]
    assert most == work.free == 3


def test_a_stage_that_waits_for_a_gpu_holds_no_core_and_lets_others_pass(tmp_path, monkeypatch):
    """As on a machine with one GPU; a training in another folder of it is waited for as well."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(tempfile, "tempdir", os.fspath(tmp_path))
    names = {"train_f0_vq": (), "train_resynthesis": (), "corpus": ()}
    work = Reproduction(tmp_path, {name: Node(name, upstream, True) for name, upstream in names.items()})
    work.cores = work.free = 2
    elsewhere = take_gpu()
    assert elsewhere and not take_gpu()
    assert work.begin() == ["corpus"]
    assert work.free == 1
    elsewhere.release()
    assert work.begin() == ["train_f0_vq"]
    assert not take_gpu()
    end(work, "corpus")
    assert work.begin() == []
    end(work, "train_f0_vq")
    assert work.begin() == ["train_resynthesis"]
    end(work, "train_resynthesis")
    assert take_gpu()  # free again


def test_what_a_killed_run_held_of_gpus_is_free(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setattr(tempfile, "tempdir", os.fspath(tmp_path))
    code = (
        "from flows.machine import take_gpu; import time; held = take_gpu(); print('held', flush=True); time.sleep(60)"
    )
    environment = os.environ | {"PYTHONPATH": os.fspath(ROOT), "TMPDIR": os.fspath(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        assert (one := take_gpu()) and not take_gpu()
        other.kill()
        other.wait()
    assert (two := take_gpu()) and one.lock_file != two.lock_file


def test_metrics_of_evaluations_that_were_not_asked_for_are_no_result(tmp_path):
    for name, wer in (("resynthesis", 12.5), ("conversion", 99.0)):
        (tmp_path / "evaluate/common" / name).mkdir(parents=True)
        (tmp_path / "evaluate/common" / name / "metrics.json").write_text(f'{{"wer": {wer}, "judge": "a"}}')
    assert final_metrics(tmp_path, {"evaluate@resynthesis", "units@demo"}) == {"resynthesis/wer": 12.5}


def test_share_leaves_room_for_stages_beside(project):
    work = Reproduction(project, read_graph(project))
    work.workers, work.threads, work.cores = 8, 4, 8
    assert work.share("a") == 8
    assert work.share("b@x") == 2
    assert [work.share(name) for name in ("train_vocoder@x", "finetune_vocoder@x")] == [4, 4]


def test_signal_numbers_have_meanings():
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV):
        assert "no further meaning" not in Ending(-number, ()).meaning()
