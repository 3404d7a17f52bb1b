"""Shard work: finished files survive, outputs appear whole, a changed input meets no old file."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from speech.errors import UserError
from speech.storage.files import write_text
from stages.params.runtime import Runtime
from stages.runtime.faults import LostError, exhausted
from stages.runtime.jobs import CHECKPOINT, Job
from tests.small_disk import small_disk

RUNTIME = Runtime(threads=1, workers=2, device="cpu", shard_minutes=1.0, max_reject_fraction=0.05)


def count_then_write(payload: Any, path: Path) -> dict[str, Any]:
    log, text = payload
    with Path(log).open("a") as handle:
        handle.write(f"{path.name}\n")
    if text == "bad":
        raise UserError("this one is bad")
    if text == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    write_text(path, text)
    return {"length": len(text)}


def job(tmp_path: Path) -> Job:
    scratch = tmp_path / "scratch/stage/key"
    (scratch / "parts").mkdir(parents=True, exist_ok=True)
    return Job(tmp_path / "out", scratch, "key", RUNTIME)


def test_reports_come_back_in_task_order_and_output_is_published(tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    work = job(tmp_path)
    reports = work.run({f"{i}.txt": (log, "x" * i) for i in range(5)}, count_then_write)
    assert [report["length"] for report in reports.values()] == [0, 1, 2, 3, 4]
    assert not (tmp_path / "out").exists()
    work.publish()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{i}.txt" for i in range(5)]
    assert not work.scratch.exists()


@pytest.mark.parametrize("fault", ["bad", "die"])
def test_a_second_try_makes_no_finished_file_again(tmp_path: Path, fault: str) -> None:
    log = tmp_path / "log"
    tasks = {f"{i}.txt": (str(log), "x") for i in range(4)}
    with pytest.raises(UserError):
        job(tmp_path).run({**tasks, "4.txt": (str(log), fault)}, count_then_write)
    done = {path.name for path in (tmp_path / "scratch/stage/key/parts").glob("*.txt")}
    reported = {path.name.removesuffix(".json") for path in (tmp_path / "scratch/stage/key/reports").glob("*.json")}
    log.write_text("")
    reports = job(tmp_path).run({**tasks, "4.txt": (str(log), "y")}, count_then_write)
    again = log.read_text().split()
    assert set(again) == {f"{i}.txt" for i in range(5)} - (done & reported)
    assert len(again) == len(set(again))
    assert list(reports) == [f"{i}.txt" for i in range(5)]


def test_a_dead_worker_is_no_error_of_the_user(tmp_path: Path) -> None:
    with pytest.raises(LostError, match=r"4\.txt: the worker process died .* finished shards are kept"):
        job(tmp_path).run({"4.txt": (str(tmp_path / "log"), "die")}, count_then_write)


def test_publish_replaces_the_whole_output(tmp_path: Path) -> None:
    write_text(tmp_path / "out/stale.txt", "old")
    work = job(tmp_path)
    work.run({"new.txt": (str(tmp_path / "log"), "x")}, count_then_write)
    work.publish()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["new.txt"]


def test_a_disk_that_fills_during_publishing_leaves_no_half_output(tmp_path: Path) -> None:
    work = job(tmp_path)
    work.run({f"{i}.txt": (str(tmp_path / "log"), "x" * 2**19) for i in range(4)}, count_then_write)
    with small_disk(tmp_path / "small") as small:
        elsewhere = replace(work, output=small / "out")
        with pytest.raises(OSError) as caught:
            elsewhere.publish()
        assert "the disk is full" in (exhausted(caught.value) or "")
        assert not list(small.iterdir())
    work.publish()
    assert len(list((tmp_path / "out").iterdir())) == 4


def training(tmp_path: Path, code: dict[str, str]) -> Job:
    work = Job(tmp_path / "out", tmp_path / "scratch/train/key", "key", RUNTIME, "train", code)
    work.begin()
    return work


def test_a_checkpoint_outlives_its_code_which_is_stated(tmp_path: Path) -> None:
    begun = training(tmp_path, {"models/a.py": "1", "models/b.py": "1", "models/old.py": "1"})
    write_text(begun.scratch / CHECKPOINT, "state")
    assert not begun.code_notice()
    changed = training(tmp_path, {"models/a.py": "2", "models/b.py": "1", "models/new.py": "1"})
    assert (changed.scratch / CHECKPOINT).is_file()
    found = "models/a.py, models/new.py, models/old.py"
    assert changed.code_notice() == f"code of train changed since this checkpoint was begun ({found})"


def test_what_other_code_prepared_for_a_training_that_has_no_checkpoint_is_made_anew(tmp_path: Path) -> None:
    shard = training(tmp_path, {"models/a.py": "1"}).scratch / "view/part.parquet"
    write_text(shard, "shard")
    training(tmp_path, {"models/a.py": "1"})
    assert shard.is_file()
    changed = training(tmp_path, {"models/a.py": "2"})
    assert not shard.exists()
    assert changed.parts.is_dir() and not changed.changed_code()
