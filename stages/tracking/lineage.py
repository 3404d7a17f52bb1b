"""Where a stage's run comes from, as DVC knows it: its inputs with their digests, the bundles it judges.

DVC brings everything that a stage depends on up to date before it runs it, and records every output's MD5 in
``dvc.lock``: so the digests of a stage's inputs are those that the lock holds when the stage begins.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.runtime.fingerprint import PROJECT, load_yaml

SYSTEMS = "systems/"
_TEMPLATE = re.compile(r"\$\{([^}]+)\}")


@dataclass(frozen=True)
class Dataset:
    """One input: where it lies, DVC's MD5 of it, its size in bytes and files, the stage that made it.

    ``made_by`` is empty for what no stage makes: recordings that somebody gave.
    """

    path: str
    digest: str
    size: int
    files: int
    made_by: str


def read_inputs(stage: str, variant: str | None, params: Mapping[str, Any]) -> list[Dataset]:
    """A stage's inputs, code not counted, in the order of ``dvc.yaml``; empty where DVC has recorded nothing.

    Recordings from outside of the graph count once DVC has recorded them: it does so after the stage ``corpus``.
    """
    lock = _lock()
    made = {out["path"]: (name, out) for name, entry in lock.items() for out in entry.get("outs", []) if "md5" in out}
    found: dict[str, Dataset] = {}
    for path in declared_deps(stage, variant, params):
        known = [(name, out) for place, (name, out) in made.items() if place == path or place.startswith(f"{path}/")]
        found |= {out["path"]: _dataset(out, name) for name, out in known}
    for maker in dict.fromkeys(dataset.made_by for dataset in found.values()):
        for dep in lock[maker].get("deps", []):
            if dep["path"] in declared_deps(stage, variant, params) and dep["path"] not in made and not _is_code(dep):
                found.setdefault(dep["path"], _dataset(dep, ""))
    return list(found.values())


def judged_bundles(inputs: list[Dataset]) -> list[str]:
    """Digests of the system bundles that the inputs are, or were made by."""
    lock, digests = _lock(), dict[str, None]()
    for dataset in inputs:
        if dataset.path.startswith(SYSTEMS):
            digests[dataset.digest] = None
        elif dataset.path.startswith("synthesize/"):
            deps = lock.get(dataset.made_by, {}).get("deps", [])
            digests |= {dep["md5"]: None for dep in deps if dep["path"].startswith(SYSTEMS) and "md5" in dep}
    return list(digests)


def declared_deps(stage: str, variant: str | None, params: Mapping[str, Any]) -> list[str]:
    """Return what ``dvc.yaml`` says a stage depends on, its templates filled as DVC fills them."""
    return _filled(stage, variant, params, ("deps",))


def declared_outs(stage: str, variant: str | None, params: Mapping[str, Any]) -> list[str]:
    """Return what ``dvc.yaml`` says a stage makes: outputs, metrics and plots."""
    return _filled(stage, variant, params, ("outs", "metrics", "plots"))


def variants_of(stage: str, params: Mapping[str, Any]) -> list[str | None]:
    """Return the variants that a stage has at these parameters; ``[None]`` for a stage without any."""
    items = _items(load_yaml(PROJECT / "dvc.yaml")["stages"][stage], params)
    return [None] if items is None else [str(item) for item in items]


def _items(entry: Mapping[str, Any], params: Mapping[str, Any]) -> Any:
    items = entry.get("foreach")
    return _look_up(items[2:-1], params) if isinstance(items, str) else items


def _filled(stage: str, variant: str | None, params: Mapping[str, Any], parts: tuple[str, ...]) -> list[str]:
    entry = load_yaml(PROJECT / "dvc.yaml")["stages"][stage]
    scope: dict[str, Any] = {**params, "key": variant}
    if (items := _items(entry, params)) is not None:
        scope["item"] = variant if isinstance(items, list) else items[variant]
    fill = functools.partial(_TEMPLATE.sub, lambda match: str(_look_up(match[1], scope)))
    paths = [path for part in parts for path in entry.get("do", entry).get(part, [])]
    return list(dict.fromkeys(fill(path if isinstance(path, str) else next(iter(path))) for path in paths))


def _look_up(place: str, values: Mapping[str, Any]) -> Any:
    """``a.b[0]`` in nested mappings and lists."""
    level: Any = values
    for part in place.replace("[", ".").replace("]", "").split("."):
        level = level[int(part)] if isinstance(level, list) else level[part]
    return level


def _dataset(record: Mapping[str, Any], maker: str) -> Dataset:
    return Dataset(record["path"], record["md5"], record.get("size", 0), record.get("nfiles", 1), maker)


def _is_code(dep: Mapping[str, Any]) -> bool:
    return "md5" not in dep or str(dep["path"]).endswith(".py")


def _lock() -> dict[str, Any]:
    path = Path("dvc.lock")
    return dict(load_yaml(path).get("stages", {})) if path.is_file() else {}
