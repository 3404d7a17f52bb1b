"""The graph as DVC knows it: stages by name, what each waits for, which of them are out of date."""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import chdir
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from flows.locks import mend_list
from speech.errors import UserError
from stages.tracking.tracker import flatten

Graph = Mapping[str, "Node"]


@dataclass(frozen=True)
class Node:
    """A stage: its name in ``dvc.yaml``, the stages it waits for, whether it changed since it last ran.

    ``reads``: the files and folders that it depends on.
    """

    name: str
    upstream: tuple[str, ...]
    changed: bool
    reads: tuple[str, ...] = field(default=(), compare=False)


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
            mend_list(root)
            with Repo(os.fspath(root), _wait_for_lock=True) as repo, lock_repo(repo):
                edges = repo.index.graph
                wanted = [stage for target in targets for stage in repo.stage.collect(target)] or list(edges)
                order: dict[str, Node] = {}
                for start in sorted(wanted, key=lambda stage: str(stage.addressing)):
                    for stage in networkx.dfs_postorder_nodes(edges, start):
                        if stage.addressing not in order:
                            upstream = tuple(sorted(other.addressing for other in edges.successors(stage)))
                            reads = tuple(sorted({dep.def_path for dep in stage.deps}))
                            order[stage.addressing] = Node(stage.addressing, upstream, bool(stage.changed()), reads)
                return order
        except DvcException as error:
            raise UserError(f"{root}: {one_line(error)}") from error
        except FileNotFoundError as error:  # DVC follows every link of a folder that a stage reads
            raise UserError(f"{error.filename}: points to nothing; mend the link or remove it") from error


def compose_params(root: Path, overrides: Sequence[str]) -> None:
    """Write ``params.yaml`` from ``conf/`` with Hydra ``overrides``, as ``dvc exp run -S`` does.

    Raises:
        UserError: an override that Hydra refuses.
    """
    from speech.storage.files import atomic_path

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
        raise UserError(f"-S {' -S '.join(overrides)}: {_refusal(one_line(error), root)}") from error


def _refusal(text: str, root: Path) -> str:
    """What Hydra says of an override, in our words where it is a name that does not exist."""
    if found := re.match(r"Could not override '(\S+)'", text):
        return f"there is no parameter '{found[1]}'{_similar(found[1], root)}; conf/ explains them all"
    if found := re.search(r"Could not find '(\w+)/(\w+)' Available options in '\w+': ([\w ]+) Config search", text):
        return f"there is no {found[1]} '{found[2]}'; there are {', '.join(found[3].split())}"
    return text


def _similar(name: str, root: Path) -> str:
    known = yaml.safe_load((root / "params.yaml").read_text()) if (root / "params.yaml").is_file() else {}
    near = difflib.get_close_matches(name, list(flatten(known)), n=3)
    return f" (did you mean {' or '.join(near)}?)" if near else ""


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


def main() -> int:
    """``make params``: compose what the words of the command line say."""
    try:
        compose_params(Path.cwd(), sys.argv[1:])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    return 0


if __name__ == "__main__":
    sys.exit(main())
