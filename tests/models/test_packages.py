"""How the networks' packages lean on each other: systems on what is shared, never on one another."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
SYSTEMS = {path.name for path in (PROJECT / "respeak/systems").iterdir() if (PROJECT / "models" / path.name).is_dir()}
SOURCES = sorted(path.relative_to(PROJECT) for path in (PROJECT / "models").rglob("*.py"))


def imported(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse((PROJECT / path).read_text())))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_no_network_leans_on_a_system_but_its_own(path: Path) -> None:
    packages = {name.split(".")[1] for name in imported(path) if name.startswith("models.")}
    assert packages & SYSTEMS <= {path.parts[1]}


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_lightning_is_for_training_alone(path: Path) -> None:
    wanted = {"lightning", "models.training", "models.hifigan.training"}
    if not path.stem.endswith("training"):
        assert not [name for name in imported(path) if name.split(".")[0] == "lightning" or name in wanted]
        assert not [name for name in imported(path) if name.startswith("models.") and name.endswith("training")]
