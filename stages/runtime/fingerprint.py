"""A hash of what a stage's work depends on: its inputs' content, its parameters and, where it matters, its code.

Work in progress is kept under this hash, so that a killed stage finds its finished files and a changed input never
meets an old one. Shards of two algorithms must not mix, so code counts for them; a checkpoint is worth hours, and goes
on under code that has changed, which is stated (:meth:`stages.runtime.jobs.Job.code_notice`).
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from stages.runtime.declared import PROJECT, declared_deps, read_lock, sources_of

Code = Mapping[str, str]
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def fingerprint(inputs: Iterable[Path], params: Any, code: Code) -> str:
    """Return the hash of the inputs' content, the parameters and the digests of code; none of which may be left out."""
    inputs, digest = list(inputs), hashlib.sha256()
    recorded = _recorded([path.as_posix() for path in inputs])
    for path in inputs:
        digest.update(f"{path}={recorded.get(path.as_posix()) or content(path)}\n".encode())
    digest.update(json.dumps(_plain(params), sort_keys=True).encode())
    digest.update(json.dumps(code, sort_keys=True).encode())
    return digest.hexdigest()[:16]


def code_of(stage: str, variant: str | None, params: Mapping[str, Any]) -> dict[str, str]:
    """Return the digests of a stage's code by path: of the Python files that dvc.yaml makes it depend on."""
    found = {source for dep in declared_deps(stage, variant, params) for source in sources_of(dep)}
    return {source: digest_of_code((PROJECT / source).read_text()) for source in sorted(found)}


def digest_of_code(source: str) -> str:
    """Return the digest of what Python code does: comments, docstrings and layout do not count."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16]


def content(path: Path) -> str:
    """Return DVC's own MD5 of a file or folder, from its bytes."""
    if path.is_file():
        return _md5(path)
    files = {file.relative_to(path).as_posix(): file for file in path.rglob("*") if file.is_file()}
    listing = [{"md5": _md5(files[name]), "relpath": name} for name in sorted(files)]
    return hashlib.md5(json.dumps(listing, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def _md5(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _recorded(paths: list[str]) -> dict[str, str]:
    """Return what DVC has recorded of outputs, by path, when DVC runs the stage: it has just checked them.

    What it has not is hashed, to the same digests: a lock that is being written costs time, never work in progress.
    """
    if not os.environ.get("DVC_STAGE"):
        return {}
    stages = read_lock(paths).values()
    return {out["path"]: out["md5"] for stage in stages for out in stage.get("outs", []) if "md5" in out}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
