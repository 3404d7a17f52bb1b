"""What a stage's work depends on, as one hash: its inputs' content, its parameters and its code.

Work in progress is kept under this hash, so that a killed stage finds its finished files and a changed input never
meets an old one.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from stages.runtime.imports import PROJECT, code_of


def fingerprint(inputs: Iterable[Path], params: Any, module: str) -> str:
    """Hash the inputs' content, the parameters and the first-party code that ``module`` reaches."""
    digest = hashlib.sha256()
    for path in inputs:
        digest.update(f"{path}={_content(path)}\n".encode())
    digest.update(json.dumps(_plain(params), sort_keys=True).encode())
    for source in code_of(module):
        digest.update((PROJECT / source).read_bytes())
    return digest.hexdigest()[:16]


def declared_params(stage: str, variant: str | None, settings: dict[str, Any]) -> dict[str, Any]:
    """The parameters that dvc.yaml says a stage depends on, by dotted key: what DVC watches, no more.

    So a change to something else does not orphan work in progress, nor does a second try with fewer workers.
    """
    entry = load_yaml(PROJECT / "dvc.yaml")["stages"][stage]
    keys = [key.replace("${key}", str(variant)) for key in entry.get("do", entry).get("params", [])]
    return {key: functools.reduce(lambda level, part: level[part], key.split("."), settings) for key in keys}


def _content(path: Path) -> str:
    """DVC's own md5 when DVC runs the stage (it has just checked it), else a hash of the bytes."""
    if os.environ.get("DVC_STAGE") and (known := _recorded().get(Path(path).as_posix())):
        return known
    if path.is_file():
        return _md5(path)
    digest = hashlib.md5(usedforsecurity=False)
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(f"{file.relative_to(path).as_posix()} {_md5(file)}\n".encode())
    return digest.hexdigest()


def _md5(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


@functools.cache
def _recorded() -> dict[str, str]:
    lock = Path("dvc.lock")
    if not lock.is_file():
        return {}
    stages = load_yaml(lock).get("stages", {})
    return {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", []) if "md5" in out}


def load_yaml(path: Path) -> dict[str, Any]:
    """A YAML file's mapping, not to be changed: the graph's take a while to read, and are kept."""
    return _load(path.resolve(), path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=8)
def _load(path: Path, changed: int) -> dict[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(path.read_text(), Loader=loader) or {}  # noqa: S506 (a safe loader)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
