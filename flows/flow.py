"""The reproduction as a Prefect flow: a task for each stage, named after it, side by side where the graph allows."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, get_args

import yaml
from prefect import Task, flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, StateType, TaskRun
from prefect.futures import PrefectFuture
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Crashed, Failed

from flows import artifacts
from flows.children import Children, stopped_by_signals
from flows.compose import compose_params
from flows.graph import Graph, necessary, read_graph
from flows.locks import StoppedError, alone, naming_lock_holders
from flows.planning.preflight import check
from flows.reproduction import DONE, Outcome, Reproduction, Result, Work, final_metrics, page_of, recorded
from flows.server import crash_left_tasks
from speech.errors import UserError

RETRY_SECONDS = 5.0
POLL_SECONDS = 0.5  # a GPU that another reproduction gives back tells nobody
ENDED_BADLY = (StateType.FAILED, StateType.CRASHED)


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


@flow(name="reproduce", flow_run_name=run_name)
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
    folder, children = Path(root).resolve(), Children()
    logging.getLogger("prefect.task_runs").addFilter(is_ours)
    with ExitStack() as stack:
        stack.enter_context(stopped_by_signals(children))
        try:
            graph = stack.enter_context(prepared(folder, overrides or (), targets or (), children))
        except StoppedError as error:
            return Cancelled(message=str(error))
        except UserError as error:
            return Failed(message=str(error))
        work = Reproduction(folder, graph, children, retries)
        if any(node.changed for node in graph.values()):  # a night in which nothing changed leaves no MLflow run
            with recorded("reproduce", work) as tracker:
                if work.params:
                    tracker.log_artifact(folder / "params.yaml")
                run_all(work)
                done = {name for name, result in work.results.items() if result.outcome in DONE}
                tracker.log_metrics(final_metrics(folder, done))
                for path in filter(Path.exists, (folder / "dvc.lock", folder / "tables")):
                    tracker.log_artifact(path)
        else:
            run_all(work)
    for name, result in work.results.items():
        if result.outcome not in DONE:
            # Where a stage was when it was stopped is of no interest to who stopped it.
            told = result.message.splitlines()[0] if result.outcome == "stopped" else result.message
            get_run_logger().error("%s: %s", name, told)
    artifacts.publish(folder, page_of(folder, work.session))
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
        graph = read_graph(root, targets)
        check(root, graph)
        crash_left_tasks("reproduce")
        yield graph


def run_all(work: Reproduction) -> None:
    """Run every stage as a task, submitted when it may begin: Prefect's timeline shows work then, and no waiting."""

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
    ended: SimpleQueue[str] = SimpleQueue()
    edges = necessary(work.graph)
    while len(work.left) < len(work.graph):
        for name in work.begin():
            upstream = [futures[other] for other in edges[name]]
            named = stage.with_options(name=name, task_run_name=name)
            futures[name] = named.submit(name, wait_for=upstream, return_state=False)
            futures[name].add_done_callback(partial(_put, ended, name))
        try:
            name = ended.get(timeout=POLL_SECONDS)
        except Empty:
            continue
        keep_error(work, name, futures[name].state)
        work.leave(name)


def _put(ended: SimpleQueue[str], name: str, future: PrefectFuture[Any]) -> None:
    ended.put(name)


def keep_error(work: Work, name: str, state: State[Any]) -> None:
    """Keep as crashed what has a task that an error of ours ended, or of Prefect's: it is not forgotten."""
    if name not in work.results and state.type in ENDED_BADLY:
        work.results[name] = Result("crashed", f"ended by an error in the flow: {state.message}")


def is_worth_another(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Return whether a task is tried again: Prefect would do so with every failed one."""
    return isinstance(state.data, TryAgainError)


def is_ours(record: logging.LogRecord) -> bool:
    """Return whether a line is not Prefect's own repetition of a task's state, told better by a stage's last line."""
    return not record.getMessage().startswith(("Finished in state", "Task run failed with state"))


def as_state(result: Result) -> State[Any]:
    """Return Prefect's word for a result: a stage that raised has failed, one that the machine ended has crashed."""
    names = {"unchanged": "Skipped", "restored": "Restored"}
    if result.outcome in DONE:
        return Completed(name=names.get(result.outcome, "Completed"), message=result.message)
    state = {"stopped": Cancelled, "crashed": Crashed, "failed": Failed}[result.outcome]
    return state(message=result.message)


def summary(work: Work) -> State[Any]:
    """Return the flow's own state, counting what there was to do by what became of it."""
    outcomes = [result.outcome for result in work.results.values()]
    counts = [f"{outcomes.count(word)} {word}" for word in get_args(Outcome) if word in outcomes]
    waiting = len(work.names) - len(outcomes)
    message = ", ".join(counts + [f"{waiting} not started"] * bool(waiting))
    if work.children.stopped.is_set():
        return Cancelled(message=message)
    bad = [name for name in work.names if name in work.results and work.results[name].outcome not in DONE]
    if not bad:
        return Completed(message=message)
    message = f"{message} ({', '.join(bad)})"
    return Failed(message=message) if "failed" in outcomes else Crashed(message=message)
