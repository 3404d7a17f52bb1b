"""``python -m flows.planning.plan``: what a reproduction would run, and what it takes, before anything is rented.

    python -m flows.planning.plan                                  of params.yaml as it stands
    python -m flows.planning.plan -S scale=paper -S corpus=vctk    of others; all is left as it is
    python -m flows.planning.plan -S scale=paper --tflops 15       training on a GPU that keeps up so many TFLOP/s

Networks are tried on this machine: run it for a minute on the machine that you might rent. Exits 1 when something is
missing, which would stop ``flows.reproduce`` too. Stages alone, with nothing tried: ``flows.reproduce --dry-run``.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from flows.children import run_command
from flows.graph import Graph, compose_for_a_look, describe, touched
from flows.planning.preflight import missing
from speech.fetching.downloads import describe_size
from stages.facts.scene import Scene
from stages.params.whole import load_params

if TYPE_CHECKING:
    from flows.planning.costs import Cost

SECONDS_PER_HOUR = 3600


def main(arguments: list[str] | None = None) -> int:
    """Print the plan; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.planning.plan", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-S", "--set-param", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    parser.add_argument("--target", action="append", default=[], metavar="STAGE", dest="targets")
    parser.add_argument("--tflops", type=float, metavar="T", help="what a GPU keeps up in training, in TFLOP/s")
    options = parser.parse_args(arguments)
    return run_command(lambda interrupted: _main(options))


def _main(options: argparse.Namespace) -> int:
    with compose_for_a_look(Path.cwd(), options.overrides, options.targets) as graph:
        params = load_params()
        print(describe(graph))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from flows.planning.costs import open_scene

    scene = open_scene(Path.cwd(), params)
    for line in estimate(scene, graph, options.tflops):
        print(line)
    lacking = list(missing(scene, [name for name, node in graph.items() if node.changed]))
    for problem in lacking:
        print(f"MISSING: {problem}")
    return 1 if lacking else 0


def estimate(scene: Scene, graph: Graph, tflops: float | None = None) -> Iterator[str]:
    """Yield what the stages that would run take, a line each, then in all."""
    from flows.planning.costs import cost, hours, total
    from flows.planning.step_benchmark import device

    params, running = scene.params, touched(graph)
    yield ""
    yield from _corpora(scene)
    yield f"{'stage':<32} {'hours':>8} {'disk':>9} {'memory':>9} {'training':>16}"
    costs = []
    for name in running:
        found = cost(scene, name)
        if found is None:
            yield f"{name:<32} not estimated"
            continue
        costs.append(found)
        training = _petaflop(found.flops) if found.flops else ""
        sizes = [describe_size(round(value)) if value else "" for value in (found.disk, found.memory)]
        yield f"{name:<32} {_hours(hours(found, params)):>8} {sizes[0]:>9} {sizes[1]:>9} {training:>16}"
    whole = total(costs)
    yield ""
    runtime = params.runtime
    where = "a GPU" if device() == "cuda" else f"{runtime.threads} threads"
    yield (
        f"in all: {_hours(sum(hours(c, params) for c in costs))} hours one after the other, with {runtime.workers}"
        f" workers and training on {where}; {describe_size(round(whole.disk))} of disk,"
        f" {describe_size(round(whole.memory))} of memory in one process"
    )
    if whole.flops:
        yield from _training(whole, device(), tflops)


def _corpora(scene: Scene) -> Iterator[str]:
    for name, size in scene.sizes.items():
        if size is None:
            yield f"corpus {name}: its size is not known before it lies here; counted as nothing"
        else:
            yield f"corpus {name}: {size.seconds / 3600:.3g} hours, {size.utterances} recordings (by {size.source})"
    yield ""


def _training(whole: Cost, device: str, tflops: float | None) -> Iterator[str]:
    rate = whole.flops / max(whole.training, 1e-9) / 1e12
    kept = f"{rate:.3g} TFLOP/s on this machine's {'GPU' if device == 'cuda' else 'processor, one thread'}"
    yield (
        f"training: {_petaflop(whole.flops)} ({kept}); its largest step takes"
        f" {describe_size(round(whole.device))} in float32, less with bf16-mixed or a smaller loop.batch_size"
    )
    if tflops:
        yield f"training at {tflops:g} TFLOP/s: {_hours(whole.flops / (tflops * 1e12) / SECONDS_PER_HOUR)} hours"
    elif device == "cpu":
        yield "training on a GPU: divide by what it keeps up (--tflops), or run this plan there for a minute"


def _hours(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}" if value >= 0.01 else "< 0.01"


def _petaflop(flops: float) -> str:
    return f"{flops / 1e15:,.0f} PFLOP" if flops >= 1e16 else f"{flops / 1e15:.2g} PFLOP"


if __name__ == "__main__":
    sys.exit(main())
