"""The order of stages where cores are few."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.graph import Node, read_graph
from flows.reproduction import Reproduction, Result
from flows.urgency import Urgency, size
from tests.flows.gathered import Gathered

ROOT = Path(__file__).resolve().parents[2]


def write(path: Path, megabytes: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(int(megabytes * 1e6)))


def test_what_reads_most_and_what_most_wait_for_comes_first(tmp_path: Path) -> None:
    write(tmp_path / "long" / "part" / "shard", 90)
    write(tmp_path / "short" / "part" / "shard", 1)
    graph = {
        "short": Node("short", (), True, ("short", "is/not/made/yet")),
        "long": Node("long", (), True, ("long/part/shard",)),
        **{f"first_{number}": Node(f"first_{number}", (), True) for number in range(2)},
        **{f"after_{number}": Node(f"after_{number}", ("first_1",), True) for number in range(3)},
    }
    work = Reproduction(tmp_path, graph)
    work.cores = Gathered(1, work)
    order = []
    for name in work.ready():
        order.append(name)
        work.results[name] = Result("ran", "ran")
        work.leave(name)
    assert order[:4] == ["long", "first_1", "short", "after_0"]


def test_what_is_not_made_yet_is_as_large_as_what_it_is_made_from(tmp_path: Path) -> None:
    graph = {
        "corpus@small": Node("corpus@small", (), True, ("small",)),
        "corpus@large": Node("corpus@large", (), True, ("large",)),
        "f0@small": Node("f0@small", ("corpus@small",), True, ("data/small",)),
        "f0@large": Node("f0@large", ("corpus@large",), True, ("data/large",)),
    }
    write(tmp_path / "small", 1)
    write(tmp_path / "large", 5)
    urgency = Urgency(tmp_path, graph)
    assert urgency.of("f0@large") > urgency.of("f0@small")
    write(tmp_path / "data" / "small", 9)  # made meanwhile, and larger than was thought
    assert urgency.of("f0@large") < urgency.of("f0@small")


def test_what_dvc_removes_meanwhile_counts_as_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("kept", "shard removed", "folder removed"):
        write(tmp_path / "data" / name / "shard", 1e-6)
    walk = os.walk

    def walk_beside_dvc(top: Path) -> Iterator[tuple[str, list[str], list[str]]]:
        for folder, folders, names in walk(top):
            folders.sort(key=["kept", "shard removed", "folder removed"].index)
            if Path(folder).name == "shard removed":  # all three are listed by now, its file as well
                (Path(folder) / "shard").unlink()
                shutil.rmtree(tmp_path / "data" / "folder removed")
            yield folder, folders, names

    monkeypatch.setattr(os, "walk", walk_beside_dvc)
    assert size(tmp_path / "data") == 1
    shutil.rmtree(tmp_path / "data")
    assert size(tmp_path / "data") == 0


def test_a_stage_whose_turn_cannot_be_told_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(urgency: Urgency, name: str) -> float:
        raise RuntimeError(name)

    monkeypatch.setattr(Urgency, "of", refuse)
    monkeypatch.setattr(threading, "excepthook", lambda arguments: None)
    work = Reproduction(tmp_path, {"a": Node("a", (), True)})
    assert next(work.ready()) == "a"
    with pytest.raises(RuntimeError):  # in its task, where it is seen
        work.run("a", print)


def test_in_the_project_itself_what_leads_to_training_comes_before_what_does_not() -> None:
    urgency = Urgency(ROOT, read_graph(ROOT))
    assert urgency.of("corpus@demo") > urgency.of("train_resynthesis") > urgency.of("evaluate@resynthesis")
    assert urgency.of("evaluate@resynthesis") > urgency.of("tables@polyak1") > urgency.of("report")
