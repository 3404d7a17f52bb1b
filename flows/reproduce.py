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
from pathlib import Path

from flows.children import run_command
from flows.compose import compose_params
from flows.graph import compose_for_a_look, describe, log_line, read_graph
from flows.locks import alone
from flows.planning.preflight import check
from flows.server import await_records, crash_dead_runs, prepare_prefect, process_tag
from respeak.results.console import summarise_folder


def main(arguments: list[str] | None = None) -> int:
    """Compose, plan, and run what is out of date; Prefect is not waited for when nothing is."""
    options = parse(arguments)
    return run_command(lambda interrupted: _main(options, interrupted))


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the command line's options."""
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
        with compose_for_a_look(root, options.overrides, options.targets) as graph:
            print(describe(graph))
        return 0
    with alone(root, log_line):
        if options.overrides:
            compose_params(root, options.overrides)
            print(f"params.yaml: composed from conf/ with {' '.join(options.overrides)}")
        graph = read_graph(root, options.targets)
        check(root, graph)
        if not any(node.changed for node in graph.values()):
            print(f"Nothing to do: all {len(graph)} stages are up to date.")
            print(closing(root))
            return 0
        if interrupted.is_set():
            raise KeyboardInterrupt
        if own := prepare_prefect(root):
            crash_dead_runs("reproduce")
        from prefect import tags

        from flows.flow import reproduce

        if interrupted.is_set():
            raise KeyboardInterrupt
        with tags(process_tag()):
            state = reproduce(targets=options.targets, retries=options.retries, root=os.fspath(root), return_state=True)
        if own and (flow_run := state.state_details.flow_run_id):
            await_records(flow_run, len(graph))
    print(closing(root) if state.is_completed() else "")
    print(f"{state.name}: {state.message}")
    return 0 if state.is_completed() else 130 if state.is_cancelled() else 1


def closing(root: Path) -> str:
    """Return the summaries of the tables of which a system was run here, and where to look next."""
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
