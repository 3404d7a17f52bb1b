"""The trainings of the graph, for ``scripts/gpu.sh``: what one machine packs and another trains, without DVC.

    python scripts/trainings.py pack             paths to pack, a line each, for all that is to be trained
    python scripts/trainings.py next             the first that is not done and can be: its stage and its variant
    python scripts/trainings.py outs FOLDER      what trainings have made in a folder, a path a line
    python scripts/trainings.py stages FOLDER    their stages, in one line

A training whose output is there by ``dvc.lock`` and the present parameters is not packed to be done again. One that
waits for what a later stage makes of another training's output takes a second round.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from speech.errors import UserError  # noqa: E402
from stages.facts import facts_of  # noqa: E402
from stages.runtime.declared import declared_deps, declared_outs, load_yaml, variants_of  # noqa: E402
from stages.tracking.own_outputs import own_outputs  # noqa: E402

CODE = ("speech", "models", "respeak", "stages")  # packed as a whole


@dataclass(frozen=True)
class Run:
    """One stage at one variant: the data that it reads and what it makes, as paths."""

    stage: str
    variant: str | None
    reads: tuple[str, ...]
    makes: tuple[str, ...]

    def __str__(self) -> str:
        """Return the stage's name in DVC, ``train_acoustic@soft``."""
        return f"{self.stage}@{self.variant}" if self.variant else self.stage

    def is_made(self, folder: Path = Path()) -> bool:
        """Return whether all that it makes is in ``folder``."""
        return all((folder / path).exists() for path in self.makes)


class Graph:
    """Every run of ``dvc.yaml`` at ``params.yaml``, those that make before those that read."""

    def __init__(self) -> None:
        self.params = load_yaml(Path("params.yaml"))
        found = [
            Run(stage, variant, self._reads(stage, variant), tuple(declared_outs(stage, variant, self.params)))
            for stage in load_yaml(PROJECT / "dvc.yaml")["stages"]
            for variant in variants_of(stage, self.params)
        ]
        self.makers = {path: run for run in found for path in run.makes}
        self.runs: list[Run] = []
        for run in found:
            self._place(run)

    def _reads(self, stage: str, variant: str | None) -> tuple[str, ...]:
        deps = declared_deps(stage, variant, self.params)
        return tuple(path for path in deps if path.split("/")[0] not in CODE and path.strip("/") not in CODE)

    def _place(self, run: Run) -> None:
        for maker in self.makers_of(run):
            if maker not in self.runs:
                self._place(maker)
        if run not in self.runs:
            self.runs.append(run)

    def makers_of(self, run: Run) -> Iterator[Run]:
        """The runs that make what a run reads, be it a folder around it or a part of it."""
        for path in run.reads:
            for made, maker in self.makers.items():
                if maker != run and (f"{made}/".startswith(f"{path}/") or f"{path}/".startswith(f"{made}/")):
                    yield maker

    @property
    def trainings(self) -> list[Run]:
        """Those that train, in the order in which they can."""
        return [run for run in self.runs if facts_of(run.stage).trains]


def to_train(graph: Graph) -> list[Run]:
    """Return the trainings that are not done at the present parameters and can be done elsewhere in one round.

    Raises:
        UserError: an input of one is not there, and no training is what it waits for.
    """
    lock: dict[str, Any] = load_yaml(Path("dvc.lock")) if Path("dvc.lock").is_file() else {}
    done = own_outputs(_numbers(lock), _numbers(graph.params), Path())
    chosen: list[Run] = []
    later: set[Run] = set()
    for run in graph.runs:
        makers = list(graph.makers_of(run))
        if not facts_of(run.stage).trains:
            if later.intersection(makers) or any(maker in chosen for maker in makers):
                later.add(run)
            continue
        if run.is_made() and done.issuperset(run.makes):
            continue
        if later.intersection(makers):
            print(f"{run}: waits for what is made of another training; pack once more then", file=sys.stderr)
            later.add(run)
            continue
        coming = {path for one in chosen for path in one.makes}
        lacking = [path for path in run.reads if path not in coming and not Path(path).exists()]
        if lacking:
            raise UserError(f"{', '.join(lacking)}: not found, and {run} reads it; bring it up to date first")
        chosen.append(run)
    if not chosen:
        raise UserError("nothing to train: all trainings are done, or wait for other stages")
    return chosen


def to_pack(graph: Graph) -> list[str]:
    """Return what the trainings to be done read, without what they make themselves, and their half-done work."""
    chosen = to_train(graph)
    coming = {path for run in chosen for path in run.makes}
    reads = dict.fromkeys(path for run in chosen for path in run.reads if path not in coming)
    scratch = [f".scratch/{run}" for run in chosen]
    return [*reads, *(path for path in scratch if Path(path).is_dir())]


def next_training(graph: Graph) -> Run | None:
    """Return the first training whose output is not there and whose inputs are."""
    able = (run for run in graph.trainings if not run.is_made() and all(Path(path).exists() for path in run.reads))
    return next(able, None)


def _numbers(value: Any) -> Any:
    """The same with 2e-05 as a number, which it is in DVC's YAML, and a word in others."""
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    is_number = isinstance(value, str) and re.fullmatch(r"-?\d+(\.\d*)?e[-+]?\d+", value)
    return float(value) if is_number else value


def main() -> int:
    """Print what is asked for."""
    graph, (command, *rest) = Graph(), sys.argv[1:]
    try:
        if command == "pack":
            print(*to_pack(graph), sep="\n")
        elif command == "next":
            run = next_training(graph)
            print(*([run.stage, *([run.variant] if run.variant else [])] if run else []))
        elif command in ("outs", "stages"):
            made = [run for run in graph.trainings if run.is_made(Path(rest[0]))]
            print(
                "\n".join(path for run in made for path in run.makes) if command == "outs" else " ".join(map(str, made))
            )
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
