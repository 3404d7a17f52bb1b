"""The reproduction as a Prefect flow: a task for each stage, named after it, side by side where the graph allows."""

from __future__ import annotations

import csv
import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, get_args

from prefect import Task, flow, get_run_logger, task
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.futures import PrefectFuture
from prefect.states import Cancelled, Completed, Crashed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from flows.children import Children
from flows.graph import compose_params, read_graph
from flows.locks import StoppedError, alone, naming_lock_holders
from flows.reproduction import DONE, Outcome, Record, Reproduction, Result
from flows.room import check

# A task waits for its upstream tasks in a thread of its own, so there must be one for every stage; cores are
# counted in flows.cores.
RUNNER: Any = ThreadPoolTaskRunner(max_workers=1000)
RETRY_SECONDS = 5.0


class TryAgainError(Exception):
    """The machine failed a stage; it is worth another try."""


@flow(name="reproduce", task_runner=RUNNER)
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
    folder, logger, children = Path(root).resolve(), get_run_logger(), Children()
    logging.getLogger("prefect.task_runs").addFilter(is_ours)
    with ExitStack() as stack:
        stack.enter_context(stopped_by_signals(children))
        try:
            stack.enter_context(alone(folder, logger.warning, children.stopped))
        except StoppedError as error:
            return Cancelled(message=str(error))
        stack.enter_context(naming_lock_holders(folder, logger.warning))
        if overrides:
            compose_params(folder, overrides)
        work = Reproduction(folder, read_graph(folder, targets or ()), children, retries)
        check(folder, work.graph)
        # An MLflow run is for what was run: a night in which nothing changed leaves none.
        record = stack.enter_context(Record(work)) if any(node.changed for node in work.graph.values()) else None
        for future in submit_all(work).values():
            future.wait()
    for name, result in work.results.items():
        if result.outcome not in DONE:
            logger.error("%s: %s", name, result.message)
    publish_artifacts(folder, record.url if record else "")
    return summary(work)


def submit_all(work: Reproduction) -> dict[str, PrefectFuture[Any]]:
    """Submit every stage, upstream first; each starts as soon as its own upstream stages are done."""

    @task(
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=work.retries,
        retry_delay_seconds=RETRY_SECONDS,
        retry_condition_fn=is_worth_another,
    )
    def stage(name: str) -> State[Any]:
        logger = get_run_logger()
        result = work.run(name, logger.info)
        first = result.message.splitlines()[0]
        logger.log(logging.INFO if result.outcome in DONE else logging.ERROR, "== %s", first)
        if result.again:
            raise TryAgainError(first)
        return as_state(result)

    futures: dict[str, PrefectFuture[Any]] = {}
    for name, node in work.graph.items():
        named = stage.with_options(name=name, task_run_name=name)
        futures[name] = named.submit(name, wait_for=[futures[other] for other in node.upstream], return_state=False)
    return futures


def is_worth_another(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Whether a task is tried again: Prefect would do so with every failed one."""
    return isinstance(state.data, TryAgainError)


def is_ours(record: logging.LogRecord) -> bool:
    """Whether a line is not Prefect's own repetition of a task's state, which a stage's last line tells better."""
    return not record.getMessage().startswith(("Finished in state", "Task run failed with state"))


def as_state(result: Result) -> State[Any]:
    """Prefect's word for a result: a stage that raised has failed, one that the machine ended has crashed."""
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
    """The flow's own state, counting stages by what became of them."""
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


@contextmanager
def stopped_by_signals(children: Children) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the stages, and so the flow, instead of tearing this process from under them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        children.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def publish_artifacts(root: Path, url: str) -> None:
    """The tables and the MLflow run, in Prefect's own pages."""
    for path in sorted(root.glob("tables/*/table.md")):
        key = "".join(c if c.isalnum() else "-" for c in path.parent.name.lower())
        create_markdown_artifact(path.read_text(), key=f"report-{key}", description=f"table {path.parent.name}")
        if (rows := path.with_suffix(".csv")).is_file():
            with rows.open(newline="") as handle:
                create_table_artifact(list(csv.DictReader(handle)), key=f"table-{key}", description=path.parent.name)
    if url:
        create_link_artifact(url, "the run in MLflow", key="mlflow-run")
