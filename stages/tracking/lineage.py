"""The lineage of a stage's run, as DVC knows it: its inputs with their digests, the bundles it judges.

DVC brings everything that a stage depends on up to date before it runs it, and records every output's MD5 in
``dvc.lock``: so the digests of a stage's inputs are those that the lock holds when the stage begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stages.runtime.declared import declared_deps, read_lock, sources_of

SYSTEMS = "systems/"


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
    """Return a stage's inputs, code not counted, in the order of ``dvc.yaml``; empty where DVC has recorded nothing.

    Recordings from outside of the graph count once DVC has recorded them: it does so after the stage ``corpus``.
    """
    deps = declared_deps(stage, variant, params)
    lock = read_lock(deps)
    made = {out["path"]: (name, out) for name, entry in lock.items() for out in entry.get("outs", []) if "md5" in out}
    found: dict[str, Dataset] = {}
    for path in deps:
        known = [(name, out) for place, (name, out) in made.items() if place == path or place.startswith(f"{path}/")]
        found |= {out["path"]: _dataset(out, name) for name, out in known}
    for maker in dict.fromkeys(dataset.made_by for dataset in found.values()):
        for dep in lock[maker].get("deps", []):
            if dep["path"] in deps and dep["path"] not in made and not _is_code(dep):
                found.setdefault(dep["path"], _dataset(dep, ""))
    return list(found.values())


def judged_bundles(inputs: list[Dataset]) -> list[str]:
    """Return digests of the system bundles that the inputs are, or were made by."""
    lock, digests = read_lock([dataset.path for dataset in inputs]), dict[str, None]()
    for dataset in inputs:
        if dataset.path.startswith(SYSTEMS):
            digests[dataset.digest] = None
        elif dataset.path.startswith("synthesize/"):
            deps = lock.get(dataset.made_by, {}).get("deps", [])
            digests |= {dep["md5"]: None for dep in deps if dep["path"].startswith(SYSTEMS) and "md5" in dep}
    return list(digests)


def _dataset(record: Mapping[str, Any], maker: str) -> Dataset:
    return Dataset(record["path"], record["md5"], record.get("size", 0), record.get("nfiles", 1), maker)


def _is_code(dep: Mapping[str, Any]) -> bool:
    return "md5" not in dep or any(sources_of(dep["path"]))
