"""The graph as DVC knows it: stages by name, what each waits for, which of them are out of date."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path

from flows.compose import compose_params, one_line
from flows.locks import alone, mend_list, naming_lock_holders
from speech.errors import UserError
from speech.storage.files import write_text

Graph = Mapping[str, "Node"]


@dataclass(frozen=True)
class Node:
    """A stage: its name in ``dvc.yaml``, the stages it waits for, whether it changed since it last ran."""

    name: str
    upstream: tuple[str, ...]
    changed: bool


def log_line(text: str) -> None:
    """Print a line for whoever waits, apart from what a command prints as its result."""
    print(text, file=sys.stderr, flush=True)


def read_graph(root: Path, targets: Sequence[str] = ()) -> Graph:
    """Return the stages that ``targets`` need (all of ``dvc.yaml`` without any), upstream first.

    Whether a stage changed is DVC's own answer before anything runs; a stage below one that runs may change later.

    Raises:
        UserError: not a DVC project, an unknown target, or a ``dvc.yaml`` that DVC refuses.
    """
    import networkx
    from dvc.exceptions import DvcException
    from dvc.repo import Repo, lock_repo

    with chdir(root), naming_lock_holders(root, log_line):
        try:
            mend_list(root)
            with Repo(os.fspath(root), _wait_for_lock=True) as repo, lock_repo(repo):
                edges = repo.index.graph
                wanted = [stage for target in targets for stage in repo.stage.collect(target)] or list(edges)
                order: dict[str, Node] = {}
                for start in sorted(wanted, key=lambda stage: str(stage.addressing)):
                    for stage in networkx.dfs_postorder_nodes(edges, start):
                        if stage.addressing not in order:
                            upstream = tuple(sorted(other.addressing for other in edges.successors(stage)))
                            order[stage.addressing] = Node(stage.addressing, upstream, bool(stage.changed()))
                return order
        except DvcException as error:
            raise UserError(f"{root}: {one_line(error)}") from error
        except FileNotFoundError as error:  # DVC follows every link of a folder that a stage reads
            raise UserError(f"{error.filename}: points to nothing; mend the link or remove it") from error


@contextmanager
def compose_for_a_look(root: Path, overrides: Sequence[str], targets: Sequence[str]) -> Iterator[Graph]:
    """Yield the graph with ``overrides``; ``params.yaml`` is composed with them meanwhile, and afterwards as it was."""
    if not overrides:
        yield read_graph(root, targets)
        return
    params = root / "params.yaml"
    with alone(root, log_line):
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
    """Return the plan, a stage a line: what would run, what might, what it waits for."""
    certain, perhaps = {name for name, node in graph.items() if node.changed}, touched(graph)
    lines = []
    for name, node in graph.items():
        word = "run" if name in certain else "if its inputs change" if name in perhaps else "unchanged"
        lines.append(f"{name:<32} {word:<22}{' after ' + ', '.join(node.upstream) if node.upstream else ''}")
    return "\n".join([*lines, f"{len(certain)} of {len(graph)} stages to run"])


def touched(graph: Graph) -> list[str]:
    """Return the stages that would run, or whose inputs would be made anew."""
    found: set[str] = set()
    for name, node in graph.items():
        if node.changed or found.intersection(node.upstream):
            found.add(name)
    return [name for name in graph if name in found]


def below(graph: Graph) -> dict[str, set[str]]:
    """Return for each stage every stage that needs it, directly or not."""
    users: dict[str, set[str]] = {name: set() for name in graph}
    for name in reversed(list(graph)):
        for parent in graph[name].upstream:
            users[parent] |= {name} | users[name]
    return users


def ways(graph: Graph) -> dict[str, int]:
    """Return for each stage the stages on the longest way from it to the graph's end, itself among them.

    Where there are more stages than cores the longest way goes first: a short one can fill a core beside it later.
    """
    found = dict.fromkeys(graph, 1)
    for name in reversed(list(graph)):
        for parent in graph[name].upstream:
            found[parent] = max(found[parent], found[name] + 1)
    return found


def necessary(graph: Graph) -> dict[str, set[str]]:
    """Return for each stage those it waits for that none of the others among them waits for: the fewest lines."""
    users = below(graph)
    return {
        name: {one for one in node.upstream if not users[one].intersection(node.upstream)}
        for name, node in graph.items()
    }
