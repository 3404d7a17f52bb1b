"""``python -m flows.sweep``: a grid of parameters as DVC experiments, ending in one comparison.

    python -m flows.sweep kmeans.k=50,100,200 train_resynthesis.use_f0=true,false
    python -m flows.sweep kmeans.k=50,100 scale=smoke --target evaluate@resynthesis
    python -m flows.sweep kmeans.k=50,100,200 --dry-run

Each experiment runs in a temporary copy of the tree (``dvc exp run --temp``) and shares DVC's cache with the others.
The first runs alone, so that what all have in common is made once. What is finished is not run again: after Ctrl-C, or
a crash, the same command goes on, an interrupted stage at its last shard or checkpoint. The comparison lies in
``sweeps/<name>/``: ``table.md``, ``table.csv``, ``wer.png``. Exits as ``flows.reproduce`` does.
"""

from __future__ import annotations

import argparse
import csv
import io
import logging
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows.children import run_command
from flows.experiments import Experiment, check_plots, finished, forget_dead, plan
from flows.server import crash_dead_runs, prepare_prefect, process_tag
from speech.errors import UserError


def main(arguments: list[str] | None = None) -> int:
    """Run what is not finished of a grid, then compare."""
    options = parse(arguments)
    return run_command(lambda interrupted: _main(options, Path.cwd(), interrupted))


def _main(options: argparse.Namespace, root: Path, interrupted: threading.Event) -> int:
    experiments = plan(root, options.grid, options.targets)
    if options.dry_run:
        print(describe(experiments, finished(root)))
        return 0
    if prepare_prefect(root):
        crash_dead_runs("sweep")
    from prefect import tags

    from flows.sweep import sweep

    if interrupted.is_set():
        raise KeyboardInterrupt
    with tags(process_tag()):
        state = sweep(options.grid, options.targets, options.jobs, os.fspath(root), return_state=True)
    print(f"{state.name}: {state.message}")
    return 0 if state.is_completed() else 130 if state.is_cancelled() else 1


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.sweep", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("grid", nargs="+", metavar="KEY=VALUE,VALUE", help="a parameter with its values, or with one")
    parser.add_argument("--target", action="append", default=[], metavar="STAGE", dest="targets")
    parser.add_argument("--jobs", type=int, default=0, help="experiments side by side (default: cores / threads)")
    parser.add_argument("--dry-run", action="store_true", help="only say which experiments there are")
    return parser.parse_args(arguments)


def describe(experiments: Sequence[Experiment], done: set[str]) -> str:
    """Return the plan, an experiment a line."""
    lines = [f"{e.name:<40} {'finished' if e.name in done else 'run':<10} {' '.join(e.overrides)}" for e in experiments]
    return "\n".join([*lines, f"{sum(e.name not in done for e in experiments)} of {len(lines)} experiments to run"])


if __name__ == "__main__":  # up here, because Prefect reads its settings, which main() makes, when it is imported
    sys.exit(main())

from prefect import flow, get_run_logger, task  # noqa: E402
from prefect.artifacts import create_markdown_artifact, create_table_artifact  # noqa: E402
from prefect.cache_policies import NO_CACHE  # noqa: E402
from prefect.client.schemas.objects import State  # noqa: E402
from prefect.futures import PrefectFuture  # noqa: E402
from prefect.runtime import flow_run  # noqa: E402
from prefect.states import Failed  # noqa: E402

from flows.children import stopped_by_signals  # noqa: E402
from flows.flow import as_state, is_ours, keep_error, summary  # noqa: E402
from flows.grid import Sweep  # noqa: E402
from flows.reproduction import DONE, recorded  # noqa: E402


def run_name() -> str:
    """Return a run's name: its grid."""
    return " ".join(flow_run.parameters.get("grid") or ["sweep"])


@flow(name="sweep", flow_run_name=run_name)
def sweep(grid: list[str], targets: list[str] | None = None, jobs: int = 0, root: str = ".") -> State[Any]:
    """Run a grid of parameters as DVC experiments and compare them.

    Args:
        grid: Hydra's overrides, with several values or one: ``kmeans.k=50,100``, ``scale=smoke``.
        targets: stages to bring up to date in each experiment, with all they need; none means all.
        jobs: experiments side by side; 0: as many as there are cores for.
        root: the project's folder.

    Returns:
        Completed, or Failed, or Cancelled, with a sentence that counts the experiments.
    """
    folder = Path(root).resolve()
    try:
        work = Sweep(folder, plan(folder, grid, targets or ()), tuple(targets or ()), jobs)
        finished(folder)  # raises where there is no commit to save experiments on
        check_plots(folder, targets or ())
    except UserError as error:
        return Failed(message=str(error))
    forget_dead(folder)
    logging.getLogger("prefect.task_runs").addFilter(is_ours)
    with stopped_by_signals(work.children), recorded(f"sweep {work.name}", work) as tracker:
        tracker.log_params({"grid": [" ".join(e.overrides) for e in work.experiments]})
        run_all(work)
        work.compare()
        for path in sorted(work.output.glob("*")):
            tracker.log_artifact(path)
    publish(work)
    return summary(work)


def run_all(work: Sweep) -> None:
    """Run the first experiment that is not finished alone, then the others as there is room."""

    @task(cache_policy=NO_CACHE, persist_result=False)
    def run(experiment: Experiment) -> State[Any]:
        logger = get_run_logger()
        result = work.run(experiment, logger.info)
        logger.log(logging.INFO if result.outcome in DONE else logging.ERROR, "== %s", result.message.splitlines()[0])
        return as_state(result)

    room = threading.Semaphore(work.jobs)

    def make_room(future: PrefectFuture[Any]) -> None:
        room.release()

    alone, futures = True, dict[str, PrefectFuture[Any]]()
    for experiment in work.experiments:
        name = experiment.name
        room.acquire()
        futures[name] = run.with_options(name=name, task_run_name=name).submit(experiment, return_state=False)
        futures[name].add_done_callback(make_room)
        if alone:
            futures[name].wait()
            alone = name in work.results and work.results[name].outcome == "unchanged"
    for name, future in futures.items():
        future.wait()
        keep_error(work, name, future.state)


def publish(work: Sweep) -> None:
    """Publish the comparison in Prefect's own pages."""
    key = "sweep-" + "".join(c if c.isalnum() else "-" for c in work.name.lower())
    text = (work.output / "table.md").read_text()
    print(text, work.output / "table.md", sep="\n")
    create_markdown_artifact(text, key=key, description=f"sweep {work.name}")
    rows = list(csv.DictReader(io.StringIO((work.output / "table.csv").read_text())))
    create_table_artifact(rows, key=f"{key}-table", description=f"sweep {work.name}")
