"""Which of the project's files can change what a module makes: those that its imports lead to.

The ``deps`` of dvc.yaml and the key of work in progress come from here. What no result can come from is left out:
imports for type checkers, which never run, and the rest of a package of which one module or name is taken.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

ROOMS = ("flows", "stages", "respeak", "models", "speech")
PROJECT = Path(__file__).resolve().parents[2]
# They count, restart and report work; what it makes is the same whatever they do.
BYSTANDERS = (
    "stages.facts",
    *(f"stages.runtime.{name}" for name in ("faults", "fingerprint", "imports", "processes")),
    *(f"stages.tracking.{name}" for name in ("lineage", "machine", "tracker")),
)


def code_of(module: str) -> list[str]:
    """Paths, relative to the project, of the first-party modules that the work of ``module`` depends on.

    Imports inside functions count: they are lazy for speed, not optional. A name that a package takes from one of its
    modules leads to that module; one that the package defines, or the package as a whole, to all that it imports.
    """
    found = set()
    queue = [module]
    followed = set()
    while queue:
        name = queue.pop()
        path = _source(name)
        if path is None or name in followed or name in BYSTANDERS:
            continue
        followed.add(name)
        found.add(path)
        for passed, target in _targets(path):
            found.update(filter(None, map(_source, passed)))
            queue.append(target)
    # An empty __init__.py holds nothing to depend on.
    return sorted(path for path in found if (PROJECT / path).stat().st_size)


@functools.cache
def _targets(path: str) -> tuple[tuple[tuple[str, ...], str], ...]:
    """Modules that a file's imports lead to, each with the packages that name it on the way."""
    found: list[tuple[tuple[str, ...], str]] = []
    for node in _running(ast.parse((PROJECT / path).read_text())):
        if isinstance(node, ast.Import):
            found.extend(((), alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.extend(_resolve(node.module or "", alias.name) for alias in node.names)
    return tuple((passed, target) for passed, target in found if target.split(".")[0] in ROOMS)


def _resolve(module: str, name: str) -> tuple[tuple[str, ...], str]:
    """The module that ``from module import name`` leads to, and the packages that pass the name on."""
    passed: list[str] = []
    while _source(f"{module}.{name}") is None:
        origin = _passed_on(module).get(name)
        if origin is None:
            return tuple(passed), module
        passed.append(module)
        module, name = origin
    return tuple(passed), f"{module}.{name}"


@functools.cache
def _passed_on(module: str) -> dict[str, tuple[str, str]]:
    """Names that a package takes from elsewhere, and from where; lazy ones are told by its imports for types."""
    path = _source(module)
    if path is None or not path.endswith("__init__.py"):
        return {}
    nodes = [node for node in ast.walk(ast.parse((PROJECT / path).read_text())) if isinstance(node, ast.ImportFrom)]
    return {alias.asname or alias.name: (node.module or "", alias.name) for node in nodes for alias in node.names}


def _running(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under ``if TYPE_CHECKING``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for other in node.orelse:
                yield other
                yield from _running(other)
        else:
            yield node
            yield from _running(node)


@functools.cache
def _source(module: str) -> str | None:
    base = Path(*module.split("."))
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if module.split(".")[0] in ROOMS and (PROJECT / candidate).is_file():
            return candidate.as_posix()
    return None
