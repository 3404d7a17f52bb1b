"""Which of the project's files can change what a module makes: those that its imports lead to.

What no result can come from is left out: imports for type checkers, which never run, the rest of a package of which one
module or name is taken, and :data:`BYSTANDERS`.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

from stages.runtime.declared import PROJECT, ROOMS

# No stage depends on these, for no result comes from them: an edit here re-runs nothing.
BYSTANDERS = {
    "stages/runtime": "runs the work and puts files into their places; what is in them comes from the stage",
    "stages/tracking": "counts and records what was made",
    "stages/facts": "what a stage is expected to cost",
    "stages/params/schema.py": "reads parameters, whose values a stage names one by one",
    "stages/params/checks.py": "refuses parameters that do not go together",
    "stages/params/runtime.py": "how work is run: results do not depend on `runtime` either",
    "speech/errors.py": "words for what went wrong, after which there is no result",
    "respeak/systems/registry.py": "finds the code of a system, which `synthesize` depends on by the system's name",
    "stages/papers/registry.py": "finds the paper of a table, which `tables` depends on by the paper's name",
}


def lies_in(path: str, places: Sequence[str]) -> bool:
    """Return whether a path is one of ``places``, or in a folder among them."""
    return any(path == place or path.startswith(f"{place}/") for place in places)


def code_of(module: str, *found_by_name: str) -> list[str]:
    """Return the paths, relative to the project, of the first-party files that the work of ``module`` depends on.

    Imports inside functions count: they are lazy for speed, not optional. A name that a package takes from one of its
    modules leads to that module; one that the package defines, or the package as a whole, to all that it imports.
    ``found_by_name``: modules that a registry among the bystanders finds for this work.
    """
    found = set()
    queue = [module, *found_by_name]
    followed = set()
    while queue:
        name = queue.pop()
        path = _source(name)
        if path is None or name in followed or lies_in(path, [*BYSTANDERS]):
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
    for node in running(ast.parse((PROJECT / path).read_text())):
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


def running(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield all nodes but those under ``if TYPE_CHECKING``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for other in node.orelse:
                yield other
                yield from running(other)
        else:
            yield node
            yield from running(node)


@functools.cache
def _source(module: str) -> str | None:
    base = Path(*module.split("."))
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if module.split(".")[0] in ROOMS and (PROJECT / candidate).is_file():
            return candidate.as_posix()
    return None
