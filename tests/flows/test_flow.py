"""What a flow says of its stages, without a server."""

from __future__ import annotations

from pathlib import Path

from prefect.states import Completed, Failed, Pending

from flows.flow import keep_error, summary
from flows.graph import Node
from flows.reproduction import Reproduction, Result


def test_a_stage_that_an_error_in_the_flow_ended_is_not_passed_over(tmp_path: Path) -> None:
    names = {"a": (), "b": ("a",), "c": ("b",)}
    work = Reproduction(tmp_path, {name: Node(name, upstream, True) for name, upstream in names.items()})
    work.results["a"] = Result("ran", "ran")
    ended = {"a": Completed(), "b": Failed(message="no server answers"), "c": Pending(name="NotReady")}
    for name, state in ended.items():
        keep_error(work, name, state)
    assert work.results["b"] == Result("crashed", "ended by an error in the flow: no server answers")
    state = summary(work)
    assert (state.name, state.message) == ("Crashed", "1 ran, 1 crashed, 1 not started (b)")
