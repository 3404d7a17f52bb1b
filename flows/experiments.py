"""DVC experiments: those a grid of parameters asks for, those that are there, what was measured in them.

An experiment's name ends in a digest of its parameters, its targets and the code, so that a finished one is known
again and one of other code or parameters is another. It is finished when DVC has saved it on the present commit.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows.compose import compose, one_line
from flows.locks import runs
from flows.reproduction import find_dvc_program
from speech.errors import UserError
from stages.runtime.declared import ROOMS
from stages.tracking.own_outputs import own_outputs
from stages.tracking.tracker import flatten, is_number

Metrics = dict[str, float]
DIGEST = 8
NAME_LENGTH = 48
STANDALONE = Path(".dvc") / "tmp" / "exps" / "standalone"  # where `dvc exp run --temp` makes its copies


@dataclass(frozen=True)
class Experiment:
    """One combination of a grid.

    Attributes:
        name: for DVC, MLflow and people.
        overrides: as ``dvc exp run -S`` takes them.
        varied: value, as written, of each parameter that the grid varies.
        params: ``params.yaml`` as it is composed for it.
    """

    name: str
    overrides: tuple[str, ...]
    varied: Mapping[str, str]
    params: Mapping[str, Any] = field(repr=False)


def plan(root: Path, grid: Sequence[str], targets: Sequence[str] = ()) -> list[Experiment]:
    """Return the experiments of a grid, the last parameter varying fastest.

    Args:
        root: the project's folder.
        grid: Hydra's overrides, with several values or one: ``kmeans.k=50,100``, ``scale=smoke``.
        targets: stages that are brought up to date in each; none means all.

    Raises:
        UserError: a parameter that there is none of, an impossible value, or a corpus that a copy would lack.
    """
    combinations = [dict(word.split("=", 1) for word in words) for words in _expand(grid)]
    values: dict[str, set[str]] = {}
    for combination in combinations:
        for key, value in combination.items():
            values.setdefault(key, set()).add(value)
    varied = [key for key, found in values.items() if len(found) > 1] or list(values)
    code = _digest_of_code(root)
    planned = []
    for combination in combinations:
        overrides = tuple(f"{key}={value}" for key, value in combination.items())
        params = _compose(root, overrides)
        _check_roots(root, params)
        digest = hashlib.sha256(json.dumps([params, list(targets), code], sort_keys=True).encode()).hexdigest()
        chosen = {key.lstrip("+"): combination[key] for key in varied}
        planned.append(Experiment(f"{_slug(chosen)}-{digest[:DIGEST]}", overrides, chosen, params))
    return planned


def finished(root: Path) -> set[str]:
    """Return the names of the experiments that DVC has saved on the present commit.

    Raises:
        UserError: no git repository there, or one without a commit.
    """
    head = _git(root, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if not head:
        raise UserError(f"{root}: no git commit there; DVC saves experiments on one: commit your work first")
    prefix = f"refs/exps/{head[:2]}/{head[2:]}/"
    refs = _git(root, "for-each-ref", "--format=%(refname)", prefix).split()
    return {ref.removeprefix(prefix) for ref in refs}


def read_metrics(root: Path) -> dict[str, Metrics]:
    """Return what was measured in each experiment on the present commit, by name, as ``dvc exp show`` has it.

    Without what DVC shows of stages that an experiment has left as they were committed. A metric of
    ``evaluate/polyak1/resynthesis/metrics.json`` is called ``resynthesis/<metric>``.

    Raises:
        UserError: DVC cannot say.
    """
    command = [find_dvc_program(), "--wait-for-lock", "exp", "show", "--json", "--hide-queued", "--hide-failed"]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if result.returncode:
        raise UserError(f"{root}: dvc exp show: {' '.join(result.stderr.split())}")
    found: dict[str, Metrics] = {}
    for commit in json.loads(result.stdout):
        for experiment in commit.get("experiments") or []:
            data = (experiment["revs"][0] if experiment.get("revs") else {}).get("data")
            if data and experiment.get("name"):
                own = _own_outputs(root, data)
                files = {path: entry.get("data") or {} for path, entry in data["metrics"].items() if path in own}
                found[experiment["name"]] = named_metrics(files)
    return found


def _own_outputs(root: Path, shown: Mapping[str, Any]) -> set[str]:
    from dvc.utils.serialize import parse_yaml  # 2e-05 is a number in DVC's YAML, and a word in others

    name = f"{shown['rev']}:dvc.lock"
    lock = parse_yaml(_git(root, "show", name), name) or {}
    params = shown["params"].get("params.yaml", {}).get("data") or {}
    return own_outputs(lock, params, root)


def named_metrics(files: Mapping[str, Mapping[str, Any]]) -> Metrics:
    """Return metrics files by path as one mapping of ``<their folder>/<metric>`` names."""
    return {
        f"{Path(path).parent.name}/{name}": value
        for path, values in sorted(files.items())
        for name, value in flatten(values).items()
        if is_number(value)
    }


def running(root: Path) -> dict[str, int]:
    """Return the experiments at work in temporary copies, by name, with the number of each one's process."""
    return {info["name"]: pid for info, pid, _ in _copies(root) if pid and info.get("name")}


def forget_dead(root: Path) -> None:
    """Remove the temporary copies of experiments whose process is gone: DVC would show them as running for ever."""
    for info, pid, record in _copies(root):
        if pid is None:
            copy = Path(info["root_dir"])
            if copy.is_relative_to(root / STANDALONE):
                shutil.rmtree(copy, ignore_errors=True)
            shutil.rmtree(record, ignore_errors=True)


def _copies(root: Path) -> Iterator[tuple[dict[str, Any], int | None, Path]]:
    """DVC's note of each temporary copy, its process while that lives, and the note's folder."""
    for note in (root / STANDALONE).glob("*/*/*.run"):
        process = note.with_suffix(".json")
        try:
            info = json.loads(note.read_text())
            pid = int(json.loads(process.read_text())["pid"]) if process.is_file() else None
        except (OSError, ValueError, KeyError):  # being written, or taken away, at this moment
            continue
        yield info, pid if pid and runs(pid) else None, note.parent


def _expand(grid: Sequence[str]) -> list[list[str]]:
    from dvc.exceptions import DvcException
    from dvc.utils.hydra import get_hydra_sweeps
    from hydra.errors import HydraException

    if not grid:
        raise UserError("a sweep needs parameters with their values, as kmeans.k=50,100,200")
    try:
        return [files["params.yaml"] for files in get_hydra_sweeps({"params.yaml": list(grid)})]
    except (DvcException, HydraException) as error:
        raise UserError(f"{' '.join(grid)}: {one_line(error)}") from error


def _compose(root: Path, overrides: Sequence[str]) -> dict[str, Any]:
    import yaml

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "params.yaml"
        compose(root, overrides, path)
        params: dict[str, Any] = yaml.safe_load(path.read_text())
    return params


def _check_roots(root: Path, params: Mapping[str, Any]) -> None:
    """Refuse corpora that a copy of what git tracks would not have."""
    for name, corpus in params.get("corpora", {}).items():
        path = Path(corpus["root"])
        if not path.is_absolute() and not _git(root, "ls-files", "--", os.fspath(path)):
            raise UserError(
                f"corpora.{name}.root: '{path}' is not in git, and experiments run in copies of what git tracks; "
                "give an absolute path"
            )


def check_plots(root: Path, targets: Sequence[str]) -> None:
    """Refuse targets that leave out what is plotted and is not here, as after a fresh clone.

    To save an experiment DVC looks into every folder that ``plots`` of ``dvc.yaml`` names a file in, be it among the
    targets or not; it would fail when all work is done.

    Raises:
        UserError: a folder of another stage that ``dvc.lock`` knows and the cache lacks.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    if not targets:
        return
    with Repo(os.fspath(root)) as repo:
        try:
            made = {stage for target in targets for stage in repo.stage.collect(target, with_deps=True)}
        except DvcException:  # it is there with an experiment's parameters alone, or DVC will say that it is not
            return
        plotted = [Path(path) for path in repo.index._plot_sources]  # what DVC itself looks into
        for out in (out for stage in repo.index.stages if stage not in made for out in stage.outs):
            known = out.hash_info if out.use_cache else None
            lacks = known and known.isdir and not out.cache.exists(known.value)
            if lacks and any(path.is_relative_to(out.def_path) for path in plotted):
                raise UserError(
                    f"{' '.join(targets)}: DVC saves no experiment without {out.def_path}, which dvc.yaml plots "
                    "and which is not here; run 'dvc pull' or 'make reproduce' first, or sweep without --target"
                )


def _digest_of_code(root: Path) -> str:
    sources = [root / "dvc.yaml", *(path for room in ROOMS[1:] for path in sorted((root / room).rglob("*.py")))]
    digest = hashlib.sha256()
    for path in sources:
        digest.update(f"{path.relative_to(root)} ".encode() + path.read_bytes())
    return digest.hexdigest()


def _slug(varied: Mapping[str, str]) -> str:
    """``k50-layer6``: last parts of the names, with their values, as git allows them in a name."""
    words = [re.sub(r"[^A-Za-z0-9_.]+", "_", key.rpartition(".")[2] + value) for key, value in varied.items()]
    slug = re.sub(r"\.{2,}", ".", "-".join(words))
    return slug[:NAME_LENGTH].strip("._-") or "experiment"


def _git(root: Path, *arguments: str) -> str:
    result = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    return result.stdout.strip() if result.returncode == 0 else ""
