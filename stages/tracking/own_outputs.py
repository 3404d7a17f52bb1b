"""Files of an experiment that are of its own making.

Metrics are in git. An experiment that brings some stages up to date carries those of all others along as they were
committed, measured with other parameters, and DVC shows them beside its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any


def own_outputs(lock: Mapping[str, Any], params: Mapping[str, Any], root: Path) -> set[str]:
    """Return outputs that follow from ``params`` and from nothing else, as DVC would see it.

    Args:
        lock: ``dvc.lock`` as the experiment left it.
        params: ``params.yaml`` of the experiment.
        root: the project's folder, where the code lies.
    """
    stages: Mapping[str, Any] = lock.get("stages") or {}
    made = {out["path"]: (name, out.get("md5")) for name, entry in stages.items() for out in entry.get("outs") or []}

    def agrees(dep: Mapping[str, Any]) -> bool:
        if dep["path"] in made:
            maker, digest = made[dep["path"]]
            return bool(digest == dep.get("md5")) and is_own(maker)
        path = root / dep["path"]  # else the experiment would have had to run the stage
        return not path.is_file() or hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() == dep.get("md5")

    @cache
    def is_own(name: str) -> bool:
        given = (stages[name].get("params") or {}).get("params.yaml") or {}
        if any(_value(params, key) != value for key, value in given.items()):
            return False
        return all(agrees(dep) for dep in stages[name].get("deps") or [])

    return {path for path, (name, _) in made.items() if is_own(name)}


def _value(params: Mapping[str, Any], key: str) -> Any:
    """Return the value of a parameter by its dotted name; None where there is none."""
    found: Any = params
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found
