"""Declarations of a stage in ``dvc.yaml``, its templates filled as DVC fills them, and records of ``dvc.lock``."""

from __future__ import annotations

import fnmatch
import functools
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parents[2]
ROOMS = ("flows", "stages", "respeak", "models", "speech")
# How long a lock that another process is writing may lack what it has to hold: DVC writes it in place, in about a
# second for some hundred stages.
PATIENCE_SECONDS = 10.0
_TEMPLATE = re.compile(r"\$\{([^}]+)\}")


def declared_params(stage: str, variant: str | None, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters that dvc.yaml makes a stage depend on, by dotted key: what DVC watches, no more.

    So a change to something else does not orphan work in progress, nor does a second try with fewer workers.
    """
    keys = [key.replace("${key}", str(variant)) for key in _declaration(stage).get("params", [])]
    return {key: functools.reduce(lambda level, part: level[part], key.split("."), settings) for key in keys}


def declared_deps(stage: str, variant: str | None, params: Mapping[str, Any]) -> list[str]:
    """Return the paths that dvc.yaml makes a stage depend on."""
    return list(dict.fromkeys(fill(_declaration(stage).get("deps", []), stage, variant, params)))


def declared_outs(stage: str, variant: str | None, params: Mapping[str, Any]) -> list[str]:
    """Return the paths that a stage makes: outputs, metrics and plots."""
    paths = [path for part in ("outs", "metrics", "plots") for path in _declaration(stage).get(part, [])]
    templates = [path if isinstance(path, str) else next(iter(path)) for path in paths]
    return list(dict.fromkeys(fill(templates, stage, variant, params)))


def variants_of(stage: str, params: Mapping[str, Any]) -> list[str | None]:
    """Return the variants that a stage has at these parameters; ``[None]`` for a stage without any."""
    items = _graph()[stage].get("foreach")
    items = _look_up(items[2:-1], params) if isinstance(items, str) else items
    return [None] if items is None else [str(item) for item in items]


def fill(templates: Iterable[str], stage: str, variant: str | None, params: Mapping[str, Any]) -> list[str]:
    """Return what templates of a stage stand for, filled as DVC fills them."""
    items = _graph()[stage].get("foreach")
    scope: dict[str, Any] = {**params, "key": variant}
    if items is not None:
        items = _look_up(items[2:-1], params) if isinstance(items, str) else items
        scope["item"] = variant if isinstance(items, list) else items[variant]
    return [_TEMPLATE.sub(lambda match: str(_look_up(match[1], scope)), template) for template in templates]


def sources_of(dep: str) -> Iterator[str]:
    """Yield the Python files of the project that are a dependency or lie in it, relative to the project; none of data.

    So a folder of a room without any, like the texts that the demo's voices read, is data.
    """
    path = PROJECT / dep
    if dep.split("/")[0] in ROOMS and path.exists():
        found = [path] if path.suffix == ".py" else sorted(path.rglob("*.py"))
        yield from (file.relative_to(PROJECT).as_posix() for file in found)


def read_lock(expected: Iterable[str] = ()) -> dict[str, Any]:
    """Return the stages of ``dvc.lock`` in the working folder, by name; none where there is no such file.

    DVC may be writing it for another stage: what was read counts once its last line is whole and, where DVC runs this
    stage, once it holds every one of the ``expected`` paths that are outputs of the graph. What is still missing after
    ``PATIENCE_SECONDS`` was never recorded.
    """
    under_dvc = bool(os.environ.get("DVC_STAGE"))
    wanted = {path for path in expected if under_dvc and any(fnmatch.fnmatch(path, out) for out in _outputs())}
    deadline = time.monotonic() + PATIENCE_SECONDS
    stages: dict[str, Any] = {}
    while Path("dvc.lock").is_file():
        stages = _parse_lock(Path("dvc.lock").read_text())
        known = {out["path"] for entry in stages.values() for out in entry.get("outs") or []}
        if (stages and wanted <= known) or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    return stages


@functools.lru_cache(maxsize=2)
def _parse_lock(text: str) -> dict[str, Any]:
    """Return the stages of a lock that may be cut off: those whose record is whole, none if its last line is not."""
    try:
        stages = _parse(text).get("stages") if text.endswith("\n") else None
    except yaml.YAMLError:
        stages = None
    # Of the last one fields may be missing.
    return {name: entry for name, entry in (stages or {}).items() if _is_whole(entry)}


def _is_whole(entry: Any) -> bool:
    records = [*(entry.get("deps") or []), *(entry.get("outs") or [])] if isinstance(entry, dict) else [None]
    return all(isinstance(record, dict) and "path" in record for record in records)


def load_yaml(path: Path) -> dict[str, Any]:
    """Return a YAML file's mapping, not to be changed: the graph's takes a while to read, and is kept."""
    return _load(path.resolve(), path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=8)
def _load(path: Path, changed: int) -> dict[str, Any]:
    return _parse(path.read_text())


def _parse(text: str) -> dict[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(text, Loader=loader) or {}  # noqa: S506 (a safe loader)


def _graph() -> dict[str, Any]:
    stages: dict[str, Any] = load_yaml(PROJECT / "dvc.yaml")["stages"]
    return stages


def _declaration(stage: str) -> dict[str, Any]:
    entry: dict[str, Any] = _graph()[stage]
    return dict(entry.get("do", entry))


def _outputs() -> list[str]:
    """Return the outputs of all stages, with ``*`` for what varies."""
    outs = [out for stage in _graph() for out in _declaration(stage).get("outs", [])]
    return [_TEMPLATE.sub("*", out) for out in outs]


def _look_up(place: str, values: Mapping[str, Any]) -> Any:
    """Return ``a.b[0]`` of nested mappings and lists."""
    level: Any = values
    for part in place.replace("[", ".").replace("]", "").split("."):
        level = level[int(part)] if isinstance(level, list) else level[part]
    return level
