"""The reproduction as a Prefect flow: a task for each stage, named after it, side by side where the graph allows."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

import yaml
from prefect import Task, flow, get_run_logger, tags, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, StateType, TaskRun
from prefect.futures import PrefectFuture
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Crashed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from flows import artifacts
from flows.children import Children, stopped_by_signals
from flows.compose import compose_params
from flows.graph import Graph, necessary, read_graph
from flows.locks import StoppedError, alone, naming_lock_holders
from flows.planning.preflight import check
from flows.reproduction import DONE, Outcome, Record, Reproduction, Result
from flows.server import crash_left_tasks, process_tag
from speech.errors import UserError

# A task waits in a thread of its own for its children, and between two tries; cores are counted in flows.machine.
RUNNER: Any = ThreadPoolTaskRunner(max_workers=1000)
RETRY_SECONDS = 5.0
ENDED_BADLY = (StateType.FAILED, StateType.CRASHED)
_KNOWN: ContextVar[Known | None] = ContextVar("known", default=None)


@dataclass(frozen=True)
class Known:
    """The graph, and the event of Ctrl-C, that the command line has ready; a deployment's run makes them by itself."""

    graph: Graph
    interrupted: threading.Event


class TryAgainError(Exception):
    """The machine failed a stage; it is worth another try."""


def run_name() -> str:
    """Return a run's name: the stages it was asked for, and the scale or the overrides."""
    asked = flow_run.parameters
    what = ", ".join(asked.get("targets") or ["all stages"])
    params = Path(asked.get("root") or ".") / "params.yaml"
    scale = yaml.safe_load(params.read_text()).get("scale", "") if params.is_file() else ""
    how = " ".join(asked.get("overrides") or [scale])
    return f"{what} at {how}" if how else what


@flow(name="reproduce", flow_run_name=run_name, task_runner=RUNNER)
def reproduce(
    overrides: list[str] | None = None, targets: list[str] | None = None, retries: int = 1, root: str = "."
) -> State[Any]:
    """Bring the DVC graph up to date.

    Args:
        overrides: Hydra overrides that params.yaml is composed with first, as ``scale=smoke``; none leaves it alone.
        targets: stages to bring up to date, with all they need; none means all.
        retries: how often a stage is tried again that was killed from outside or lost its worker.
        root: the project's folder.

    Returns:
        Completed, Failed (a stage did), Crashed (the machine failed a stage) or Cancelled, with a sentence that counts
        the stages.
    """
    ready = _KNOWN.get()
    folder, children = Path(root).resolve(), Children()
    logging.getLogger("prefect.task_runs").addFilter(is_ours)
    with ExitStack() as stack:
        stack.enter_context(stopped_by_signals(children))
        if ready and ready.interrupted.is_set():
            return Cancelled(message="stopped before it began")
        try:
            graph = stack.enter_context(prepared(folder, overrides or (), targets or (), children))
        except StoppedError as error:
            return Cancelled(message=str(error))
        except UserError as error:
            return Failed(message=str(error))
        work = Reproduction(folder, graph, children, retries)
        # An MLflow run is for what was run: a night in which nothing changed leaves none.
        record = stack.enter_context(Record(work)) if any(node.changed for node in work.graph.values()) else None
        await_all(work, submit_all(work))
    for name, result in work.results.items():
        if result.outcome not in DONE:
            # Where a stage was when it was stopped is of no interest to who stopped it.
            told = result.message.splitlines()[0] if result.outcome == "stopped" else result.message
            get_run_logger().error("%s: %s", name, told)
    artifacts.publish(folder, record.url if record else "")
    return summary(work)


@contextmanager
def prepared(root: Path, overrides: Sequence[str], targets: Sequence[str], children: Children) -> Iterator[Graph]:
    """Yield the graph as it is to be run, in a project that is ours alone meanwhile.

    Raises:
        StoppedError: while waiting for another reproduction.
        UserError: an override or a target that there is none of, or something a run would lack in the middle.
    """
    log = get_run_logger().warning
    with alone(root, log, children.stopped), naming_lock_holders(root, log, children.pids):
        if overrides:
            compose_params(root, overrides)
        if ready := _KNOWN.get():
            graph = ready.graph
        else:
            graph = read_graph(root, targets)
            check(root, graph)
        crash_left_tasks("reproduce")
        yield graph


@contextmanager
def known(graph: Graph, interrupted: threading.Event) -> Iterator[None]:
    """Let the flow take ``graph`` while inside: it was read and checked a moment ago, and DVC needs a second for it."""
    token = _KNOWN.set(Known(graph, interrupted))
    try:
        with tags(process_tag()):
            yield
    finally:
        _KNOWN.reset(token)


def submit_all(work: Reproduction) -> dict[str, PrefectFuture[Any]]:
    """Submit every stage as soon as it may begin: Prefect's timeline shows work then, and no waiting for cores."""

    @task(
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=work.retries,
        retry_delay_seconds=RETRY_SECONDS,
        retry_condition_fn=is_worth_another,
    )
    def stage(name: str) -> State[Any]:
        logger, progress = get_run_logger(), artifacts.Progress(name)

        def log(line: str) -> None:
            logger.info(line)
            progress.hear(line)

        result = work.run(name, log)
        first = result.message.splitlines()[0]
        logger.log(logging.INFO if result.outcome in DONE else logging.ERROR, "== %s", first)
        if result.again:
            raise TryAgainError(first)
        return as_state(result)

    futures: dict[str, PrefectFuture[Any]] = {}
    edges = necessary(work.graph)
    for name in work.ready():
        named = stage.with_options(name=name, task_run_name=name)
        futures[name] = named.submit(name, wait_for=[futures[other] for other in edges[name]], return_state=False)
        futures[name].add_done_callback(partial(leave, work, name))
    return futures


def await_all(work: Reproduction, futures: Mapping[str, PrefectFuture[Any]]) -> None:
    """Wait for every stage. One that an error of ours ended, or of Prefect's, has crashed: it is not forgotten."""
    for name, future in futures.items():
        future.wait()
        if name not in work.results and future.state.type in ENDED_BADLY:
            work.results[name] = Result("crashed", f"ended by an error in the flow: {future.state.message}")


def leave(work: Reproduction, name: str, future: PrefectFuture[Any]) -> None:
    """Let those that wait for a task's stage begin, however the task ended."""
    work.leave(name)


def is_worth_another(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Return whether a task is tried again: Prefect would do so with every failed one."""
    return isinstance(state.data, TryAgainError)


def is_ours(record: logging.LogRecord) -> bool:
    """Return whether a line is not Prefect's own repetition of a task's state, told better by a stage's last line."""
    return not record.getMessage().startswith(("Finished in state", "Task run failed with state"))


def as_state(result: Result) -> State[Any]:
    """Return Prefect's word for a result: a stage that raised has failed, one that the machine ended has crashed."""
    match result.outcome:
        case "unchanged":
            return Completed(name="Skipped", message=result.message)
        case "restored":
            return Completed(name="Restored", message=result.message)
        case "ran":
            return Completed(message=result.message)
        case "stopped":
            return Cancelled(message=result.message)
        case "crashed":
            return Crashed(message=result.message)
        case "failed":
            return Failed(message=result.message)


def summary(work: Reproduction) -> State[Any]:
    """Return the flow's own state, counting stages by what became of them."""
    outcomes = [result.outcome for result in work.results.values()]
    counts = [f"{outcomes.count(word)} {word}" for word in get_args(Outcome) if word in outcomes]
    waiting = len(work.graph) - len(outcomes)
    message = ", ".join(counts + [f"{waiting} not started"] * bool(waiting))
    if work.children.stopped.is_set():
        return Cancelled(message=message)
    bad = [name for name in work.graph if name in work.results and work.results[name].outcome not in DONE]
    if not bad:
        return Completed(message=message)
    message = f"{message} ({', '.join(bad)})"
    return Failed(message=message) if "failed" in outcomes else Crashed(message=message)
