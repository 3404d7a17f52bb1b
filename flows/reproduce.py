"""``python -m flows.reproduce``: the whole graph, independent stages side by side, ending with the table.

    python -m flows.reproduce                         bring everything up to date
    python -m flows.reproduce -S scale=smoke          at another size (params.yaml is composed anew from conf/)
    python -m flows.reproduce --target units@demo     this stage and what it needs
    python -m flows.reproduce --dry-run               only say what would run, and leave all as it is
    python -m flows.reproduce --retries 0             a stage that was killed from outside is not tried again

Exits 0 when all is up to date, 1 when a stage failed, 2 for a user's error, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from flows.forks import Forks
from flows.graph import Graph, compose_params, read_graph
from flows.interrupts import remembered_interrupts
from flows.locks import alone, naming_lock_holders
from flows.server import await_records, begin_server, crash_dead_runs, prepare_prefect
from respeak.results.console import summarise_folder
from speech.errors import UserError
from speech.storage.files import write_text


def main(arguments: list[str] | None = None) -> int:
    """Compose, plan, and run what is out of date; Prefect is not waited for when nothing is."""
    options = parse(arguments)
    try:
        with remembered_interrupts() as interrupted:
            return _main(options, interrupted)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # before the flow began, or while waiting for another one
        return 130


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.reproduce", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-S", "--set-param", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    parser.add_argument("--target", action="append", default=[], metavar="STAGE", dest="targets")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--retries", type=int, default=1, metavar="N")
    return parser.parse_args(arguments)


def _main(options: argparse.Namespace, interrupted: threading.Event) -> int:
    root = Path.cwd()
    if options.dry_run:
        print(plan(root, options.overrides, options.targets))
        return 0
    with alone(root, _say):
        if options.overrides:
            compose_params(root, options.overrides)
            print(f"params.yaml: composed from conf/ with {' '.join(options.overrides)}")
        server, forks = begin_server(root), Forks()
        forks.copy_this()
        with naming_lock_holders(root, _say):
            graph = read_graph(root, options.targets)
        if not any(node.changed for node in graph.values()):
            print(f"Nothing to do: all {len(graph)} stages are up to date.")
            print(closing(root))
            return 0
        # Imported here and below while Prefect's server starts, which takes longest of all before the first stage.
        from flows.planning.preflight import check

        check(root, graph)
        if interrupted.is_set():
            raise KeyboardInterrupt
        from flows.flow import known, reproduce
        from flows.gpus import make_limit

        if own := prepare_prefect(root, server):
            crash_dead_runs("reproduce")
            make_limit(all_free=True)
        # Composed and read above; the flow does so by itself where a deployment calls it.
        with known(graph, forks, interrupted):
            state = reproduce(targets=options.targets, retries=options.retries, root=os.fspath(root), return_state=True)
        if own and (flow_run := state.state_details.flow_run_id):
            await_records(flow_run, len(graph))
    print(closing(root) if state.is_completed() else "")
    print(f"{state.name}: {state.message}")
    return 0 if state.is_completed() else 130 if state.is_cancelled() else 1


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def plan(root: Path, overrides: Sequence[str], targets: Sequence[str]) -> str:
    """What would run with ``overrides``, a stage a line; ``params.yaml`` is afterwards as it was."""
    with compose_for_a_look(root, overrides, targets) as graph:
        return describe(graph)


@contextmanager
def compose_for_a_look(root: Path, overrides: Sequence[str], targets: Sequence[str]) -> Iterator[Graph]:
    """The graph with ``overrides``; ``params.yaml`` is composed with them meanwhile, and afterwards as it was."""
    if not overrides:
        yield read_graph(root, targets)
        return
    params = root / "params.yaml"
    with alone(root, _say):
        before = params.read_text() if params.is_file() else None
        try:
            compose_params(root, overrides)
            yield read_graph(root, targets)
        finally:
            if before is None:
                params.unlink(missing_ok=True)
            else:
                write_text(params, before)


def describe(graph: Graph) -> str:
    """The plan, a stage a line: what would run, what might, what it waits for."""
    certain = {name for name, node in graph.items() if node.changed}
    touched: set[str] = set()
    lines = []
    for name, node in graph.items():
        if node.changed or touched.intersection(node.upstream):
            touched.add(name)
        word = "run" if name in certain else "if its inputs change" if name in touched else "unchanged"
        lines.append(f"{name:<32} {word:<22}{' after ' + ', '.join(node.upstream) if node.upstream else ''}")
    return "\n".join([*lines, f"{len(certain)} of {len(graph)} stages to run"])


def closing(root: Path) -> str:
    """The summaries of the tables of which a system was run here, and where to look next."""
    programs = Path(sys.executable).parent
    programs = programs.relative_to(root) if programs.is_relative_to(root) else programs
    made = {
        "reports/index.html": "every table, and every system to be heard: one file, for a browser",
        "tables/": "the tables as Markdown, CSV, LaTeX and JSON, those without a system run here too",
        "systems/": "the trained systems; try: respeak convert --help",
    }
    look = [
        "Where to look next:",
        *(f"  {path:<18} {what}" for path, what in made.items() if (root / path).exists()),
        f"  {programs}/dvc dag, dvc params diff, dvc metrics show",
        "  make mlflow        every run's parameters, series and pictures, in a browser",
        "  make prefect       the flow graph and each stage's log, in a browser",
    ]
    return "\n\n".join(["", summarise_folder(root / "tables"), "\n".join(look)])


if __name__ == "__main__":
    sys.exit(main())
