"""The shape of the project: imports go down the rooms, and the graph names the code it runs."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from stages.runtime.imports import ROOMS, code_of

PROJECT = Path(__file__).resolve().parents[1]
SOURCES = sorted(path.relative_to(PROJECT) for room in ROOMS for path in (PROJECT / room).rglob("*.py"))
# Files that play the same part in different systems or networks.
SHARED_ROLES = {"__init__", "bundle", "generator", "public", "registry", "system", "training"}
# Stages beside the module that does their work; and two pairs that wait for names of their own.
SAME_MEANING = {"kmeans", "units"}
PENDING_NAMES = {"measured", "table"}
PIPELINE_ONLY = {"prefect", "dvc", "mlflow", "lightning", "pandas", "sklearn"}


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse((PROJECT / path).read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; name the room"
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_imports_go_only_down(path: Path) -> None:
    above = set(ROOMS[: ROOMS.index(path.parts[0])])
    assert not imported(path) & above


@pytest.mark.parametrize("path", [p for p in SOURCES if p.parts[0] in ("respeak", "models", "speech")], ids=str)
def test_the_light_rooms_do_without_the_pipeline(path: Path) -> None:
    if (
        path.name == "training.py"
        or path.parts[:2] in {("speech", "metrics"), ("speech", "judges")}
        or path.name == "dvectors.py"
    ):
        pytest.skip("training modules, metrics and judges belong to the pipeline's install")
    assert not imported(path) & PIPELINE_ONLY


def test_models_import_nothing_above_torch() -> None:
    for path in (p for p in SOURCES if p.parts[0] == "models"):
        assert not imported(path) & {"pyarrow", "yaml", "soundfile"}, path


def test_dvc_yaml_names_the_code_that_each_stage_imports() -> None:
    found = subprocess.run(
        [sys.executable, "scripts/code_deps.py", "--check"], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout + found.stderr


def test_code_of_follows_lazy_imports_and_parents() -> None:
    code = code_of("stages.corpus")
    assert "stages/corpus.py" in code
    assert "speech/errors.py" in code
    assert "speech/corpora/demo.py" in code
    assert not any(path.startswith("models/") for path in code)


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_files_stay_small(path: Path) -> None:
    assert len((PROJECT / path).read_text().splitlines()) <= 400


def test_no_basename_twice_with_another_meaning() -> None:
    """Parameters are called after their stage, a stage after what it makes; nothing else shares a name."""
    names = Counter(path.stem for path in SOURCES if path.parts[:2] != ("stages", "params"))
    twice = {name for name, count in names.items() if count > 1} - SHARED_ROLES - SAME_MEANING
    assert twice <= PENDING_NAMES, "one name, one meaning: rename, or state the role"
