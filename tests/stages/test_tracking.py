"""Journals, their way into MLflow, and what happens when MLflow is out of reach."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from stages.runtime.processes import is_alive, process_key
from stages.tracking.collector import Collector, locked
from stages.tracking.tracker import RUNS, Tracker, flatten, main_root

ROOT = Path(__file__).resolve().parents[2]


def events(empty_project):
    (journal,) = (empty_project / RUNS).glob("*.jsonl")
    return [json.loads(line) for line in journal.read_text().splitlines()]


def run_stage(empty_project, code, **env):
    script = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom stages.tracking.tracker import Tracker\n{code}"
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("RESPEAK_", "MLFLOW_"))}
    return subprocess.run(
        [sys.executable, "-c", script], cwd=empty_project, env=clean | env, capture_output=True, text=True, check=False
    )


def test_session_nests_and_values_arrive(empty_project, monkeypatch):
    """Two stages of one session, one of them killed, under the session's own run; read back through MLflow itself."""
    session = process_key(os.getpid()) or ""
    parent = Tracker.open_session("reproduce", "smoke", session)
    monkeypatch.setenv("RESPEAK_SESSION", session)
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    child = Tracker.open("kmeans", None, {"k": 100, "loop": {"steps": 5}}, "smoke")
    assert "MLFLOW_RUN_ID" not in os.environ
    for step in range(1200):
        child.log_metrics({"train/loss_mel": 1.0 / (step + 1)}, step)
    child.log_metrics({"odd": float("nan"), "absent": None})
    child.log_text("notes/table.md", "| a |")
    (empty_project / "out.json").write_text("{}")
    child.log_artifact(empty_project / "out.json")
    (empty_project / "out.json").unlink()
    child.close("FINISHED")
    child.close("FAILED")
    run_stage(empty_project, "Tracker.open('f0', 'demo'); import os; os._exit(9)", RESPEAK_SESSION=session)
    parent.close("FAILED")

    collector = Collector(empty_project)
    collector.pass_over()
    runs = {run.info.run_name: run for run in collector.client.search_runs(["1"])}
    assert set(runs) == {"reproduce", "kmeans", "f0@demo"}
    assert {name: run.info.status for name, run in runs.items()} == {
        "reproduce": "FAILED",
        "kmeans": "FINISHED",
        "f0@demo": "KILLED",
    }
    kmeans, top = runs["kmeans"], runs["reproduce"].info.run_id
    assert {run.data.tags.get("mlflow.parentRunId") for run in runs.values()} == {None, top}
    assert kmeans.data.params == {"k": "100", "loop.steps": "5"}
    assert kmeans.data.tags["stage"] == "kmeans"
    assert kmeans.data.tags["scale"] == "smoke"
    series = collector.client.get_metric_history(kmeans.info.run_id, "train/loss_mel")
    assert len(series) == 1200
    assert {point.step: point.value for point in series}[9] == pytest.approx(0.1)
    assert (empty_project / "mlflow.db").is_file()
    stored = [path.name for path in (empty_project / "mlartifacts").rglob("*") if path.is_file()]
    assert sorted(stored) == ["out.json", "table.md"]
    assert not list((empty_project / RUNS).iterdir())


def test_running_stage_is_uploaded_piece_by_piece(collector):
    tracker = Tracker.open("train_x", None, {}, "smoke")
    for step in range(3):
        tracker.log_metrics({"loss": step}, step)
        collector.pass_over()
        (run,) = collector.client.search_runs(["1"])
        assert run.info.status == "RUNNING"
        assert run.data.metrics["loss"] == step
    assert len(collector.client.get_metric_history(run.info.run_id, "loss")) == 3


def test_unreachable_server_is_said_once_and_loses_nothing(empty_project, collector):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{probe.getsockname()[1]}"
    code = "t = Tracker.open('train_x')\nfor i in range(50): t.log_metrics({'loss': i}, i)\nt.close()"
    started = time.monotonic()
    result = run_stage(empty_project, code, MLFLOW_TRACKING_URI=address, NO_PROXY="*")
    assert result.returncode == 0
    assert time.monotonic() - started < 10
    assert len(result.stderr.splitlines()) == 1
    assert "does not answer" in result.stderr
    assert sum(event["event"] == "metrics" for event in events(empty_project)) == 50
    collector.pass_over()
    (run,) = collector.client.search_runs(["1"])
    assert run.data.metrics["loss"] == 49
    assert not list((empty_project / RUNS).iterdir())


def test_first_collectors_at_once_make_one_database(empty_project):
    Tracker.open("a").close()
    collectors = [Collector(empty_project) for _ in range(2)]
    threads = [threading.Thread(target=lambda c=c: c.client) for c in collectors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for collector in collectors:
        collector.pass_over()
    assert len(collectors[0].client.search_runs(["1"])) == 1


def test_cut_line_costs_that_line(empty_project, collector):
    tracker = Tracker.open("a")
    with tracker.path.open("a") as handle:
        handle.write('{"event": "metr\n')
    tracker.log_metrics({"x": 2.0})
    tracker.close()
    collector.pass_over()
    (run,) = collector.client.search_runs(["1"])
    assert run.data.metrics == {"x": 2.0}


def test_nothing_follows_the_end(empty_project):
    tracker = Tracker.open("a")
    tracker.close()
    tracker.log_metrics({"late": 1.0})
    assert events(empty_project)[-1]["event"] == "close"


def test_full_disk_is_said_once(empty_project, capsys):
    (empty_project / ".scratch").write_text("a file where the folder should be")
    tracker = Tracker.open("a")
    tracker.log_metrics({"x": 1.0})
    tracker.log_text("t.txt", "x")
    tracker.close()
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_stage_starts_without_mlflow_imported(empty_project):
    code = "Tracker.open('a').close(); assert not {'mlflow', 'numpy', 'yaml'} & set(sys.modules)"
    assert run_stage(empty_project, code, RESPEAK_TRACKING="local").returncode == 0


def test_temporary_copy_reports_to_the_project(tmp_path):
    copy = tmp_path / ".dvc" / "tmp" / "exps" / "abc"
    copy.mkdir(parents=True)
    assert main_root(copy) == tmp_path
    assert main_root(tmp_path) == tmp_path


def test_process_key_tells_a_reused_number_apart():
    key = process_key(os.getpid())
    assert key
    assert is_alive(key)
    assert is_alive(f"{key}-second")
    assert not is_alive(f"{os.getpid()}-1")


def test_lock_is_exclusive(tmp_path):
    with locked(tmp_path / "l") as mine, locked(tmp_path / "l", wait=False) as second:
        assert mine
        assert not second


def test_flatten():
    assert flatten({"a": {"b": {"c": 1}}, "d": 2}) == {"a.b.c": 1, "d": 2}


def test_inputs_and_audio_arrive(empty_project, collector):
    """Datasets with the digests that DVC has of them, each told by the stage that made it."""
    import numpy as np
    import soundfile

    tracker = Tracker.open("kmeans", None, {}, "smoke")
    digest = "0123456789abcdef0123456789abcdef.dir"
    fields = {"path": "data/demo/features", "digest": digest, "size": 9, "files": 2, "made_by": "features@demo"}
    tracker.log_inputs([fields], [])
    wave = np.sin(np.arange(1600) / 5).astype(np.float32) / 2
    tracker.log_audio("a/b-ann", wave)
    tracker.close()
    collector.pass_over()
    (run,) = collector.client.search_runs(["1"])
    (found,) = run.inputs.dataset_inputs
    assert (found.dataset.name, found.dataset.digest) == ("data/demo/features", digest)
    assert found.tags[0].value == "features@demo"
    path = collector.client.download_artifacts(run.info.run_id, "audio/a_b-ann.wav", str(empty_project))
    np.testing.assert_allclose(soundfile.read(path)[0], wave, atol=1 / 32768)


def test_runs_say_what_they_came_from(empty_project):
    def git(*arguments):
        command = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", *arguments]
        return subprocess.run(command, cwd=empty_project, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    (empty_project / "dvc.lock").write_text("stages: {}\n")
    git("add", "-A")
    git("commit", "-qm", "begin")
    Tracker.open("a").close()
    tags, commit = events(empty_project)[0]["tags"], git("rev-parse", "HEAD")
    assert (tags["commit"], tags["dvc_rev"], tags["mlflow.source.git.commit"]) == (commit, commit, commit)
    assert tags["dvc_lock"] == hashlib.md5(b"stages: {}\n", usedforsecurity=False).hexdigest()


def test_a_locked_database_costs_a_wait(empty_project, collector, capfd):
    """Another program holds MLflow's file: the stage goes on, the collector comes back, nothing is lost."""
    holder = sqlite3.connect(empty_project / "mlflow.db", isolation_level=None)
    assert collector.client
    holder.execute("BEGIN EXCLUSIVE")
    code = "t = Tracker.open('train_x')\nfor i in range(50): t.log_metrics({'loss': i}, i)\nt.close()"
    result = run_stage(empty_project, code, RESPEAK_TRACKING="")
    assert result.returncode == 0
    assert len(result.stderr.splitlines()) == 1
    assert "mlflow.db: locked by another program" in result.stderr
    holder.execute("ROLLBACK")
    holder.close()
    deadline = time.monotonic() + 60
    while list((empty_project / RUNS).glob("*")) and time.monotonic() < deadline:
        time.sleep(0.2)
    (run,) = collector.client.search_runs(["1"])
    assert (run.info.status, run.data.metrics["loss"]) == ("FINISHED", 49)
