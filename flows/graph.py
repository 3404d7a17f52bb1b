"""The graph as DVC knows it: stages by name, what each waits for, which of them are out of date."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

from speech.errors import UserError

Graph = Mapping[str, "Node"]


@dataclass(frozen=True)
class Node:
    """A stage: its name in ``dvc.yaml``, the stages it waits for, whether it changed since it last ran."""

    name: str
    upstream: tuple[str, ...]
    changed: bool


def read_graph(root: Path, targets: Sequence[str] = ()) -> Graph:
    """The stages that ``targets`` need (all of ``dvc.yaml`` without any), upstream first.

    Whether a stage changed is DVC's own answer before anything runs; a stage below one that runs may change later.

    Raises:
        UserError: not a DVC project, an unknown target, or a ``dvc.yaml`` that DVC refuses.
    """
    import networkx
    from dvc.exceptions import DvcException
    from dvc.repo import Repo, lock_repo

    with chdir(root):
        try:
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


def compose_params(root: Path, overrides: Sequence[str]) -> None:
    """Write ``params.yaml`` from ``conf/`` with Hydra ``overrides``, as ``dvc exp run -S`` does.

    Raises:
        UserError: an override that Hydra refuses.
    """
    from speech.files import atomic_path

    with atomic_path(root / "params.yaml") as path:
        compose(root, overrides, path)


def compose(root: Path, overrides: Sequence[str], target: Path) -> None:
    """Write what ``compose_params`` would to another file, a ``.yaml``; errors as there."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.utils.hydra import compose_and_dump
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        with Repo(os.fspath(root)) as repo:
            settings = repo.config.get("hydra", {})
        folder = os.fspath(root / settings.get("config_dir", "conf"))
        name, plugins = settings.get("config_name", "config"), os.fspath(root / settings.get("plugins_path", ""))
        compose_and_dump(os.fspath(target), folder, None, name, plugins, list(overrides))
    except (DvcException, HydraException, OmegaConfBaseException) as error:
        raise UserError(f"-S {' -S '.join(overrides)}: {one_line(error)}") from error


def below(graph: Graph) -> dict[str, set[str]]:
    """For each stage, every stage that needs it, directly or not."""
    users: dict[str, set[str]] = {name: set() for name in graph}
    for name in reversed(list(graph)):
        for parent in graph[name].upstream:
            users[parent] |= {name} | users[name]
    return users


def necessary(graph: Graph) -> dict[str, set[str]]:
    """For each stage, those it waits for that none of the others among them waits for: the fewest lines to draw."""
    users = below(graph)
    return {
        name: {one for one in node.upstream if not users[one].intersection(node.upstream)}
        for name, node in graph.items()
    }


def one_line(error: BaseException) -> str:
    """An error's message, and its cause's, as one line."""
    text = " ".join(str(error).split())
    return f"{text}: {one_line(error.__cause__)}" if error.__cause__ is not None else text


if __name__ == "__main__":
    compose_params(Path.cwd(), sys.argv[1:])
