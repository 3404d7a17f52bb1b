"""Ctrl-C before a flow begins."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from flows import reproduce, sweep
from flows.children import remembered_interrupts
from flows.graph import Graph, Node
from flows.planning import plan


def interrupt(*arguments: object) -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """Ctrl-C is not ignored, as a shell in the background has it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler


def test_an_interrupt_is_raised_and_remembered() -> None:
    with remembered_interrupts() as interrupted:
        assert not interrupted.is_set()
        with pytest.raises(KeyboardInterrupt):
            interrupt()
        assert interrupted.is_set()


@pytest.mark.parametrize(
    ("main", "reads", "words"),
    [
        (reproduce.main, "flows.reproduce.read_graph", []),
        (sweep.main, "flows.sweep.plan", ["kmeans.k=50"]),
        (plan.main, "flows.planning.plan.compose_for_a_look", []),
    ],
    ids=["reproduce", "sweep", "plan"],
)
def test_a_command_ends_while_it_reads(
    empty_project: Path,
    monkeypatch: pytest.MonkeyPatch,
    main: Callable[[list[str]], int],
    reads: str,
    words: list[str],
) -> None:
    monkeypatch.setattr(reads, interrupt)
    assert main(words) == 130


def test_it_ends_too_where_a_library_swallowed_the_interrupt(
    empty_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def swallow(*arguments: object) -> Graph:
        with suppress(KeyboardInterrupt):
            interrupt()
        return {"a": Node("a", (), True)}

    monkeypatch.setattr("flows.reproduce.read_graph", swallow)
    monkeypatch.setattr("flows.reproduce.prepare_prefect", lambda *arguments: pytest.fail("it went on"))
    assert reproduce.main([]) == 130
