"""A stage reads the sections that it declares, no others: what that promises to DVC, to other systems and to mypy."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import re
import typing
from pathlib import Path
from typing import Any

import pytest
import yaml

from speech.errors import UserError
from stages.params import checks, whole
from stages.params.runtime import Common
from stages.params.schema import read_own
from stages.params.whole import Params
from tests.imports import running

PROJECT = Path(__file__).resolve().parents[2]
ALWAYS = {field.name for field in dataclasses.fields(Common)}
GRAPH: dict[str, Any] = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]


def declared(stage: str) -> type[Common]:
    kind: type[Common] = importlib.import_module(f"stages.{stage}").Params
    return kind


def fields(stage: str) -> set[str]:
    return {field.name for field in dataclasses.fields(declared(stage))}


def body(stage: str) -> dict[str, Any]:
    entry: dict[str, Any] = GRAPH[stage]
    return entry.get("do", entry)


def raw() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((PROJECT / "params.yaml").read_text())
    return found


@pytest.mark.parametrize("stage", GRAPH)
def test_what_dvc_watches_is_declared_and_the_rest_explained(stage: str) -> None:
    watched = {key.split(".")[0] for key in body(stage).get("params", [])}
    assert watched <= fields(stage), "dvc.yaml watches what the stage does not read"
    explained = {
        name
        for name, hint in typing.get_type_hints(declared(stage), include_extras=True).items()
        if typing.get_origin(hint) is typing.Annotated and hint.__metadata__[0].strip()
    }
    unwatched = fields(stage) - watched - ALWAYS
    assert unwatched <= explained, "read, but neither among params of dvc.yaml nor said how it takes effect"


@pytest.mark.parametrize("stage", GRAPH)
def test_a_stages_templates_are_of_sections_that_it_declares(stage: str) -> None:
    """What its work depends on is told from its own parameters, so they have to fill in its lists of inputs."""
    named = [GRAPH[stage].get("foreach", ""), *body(stage).get("deps", []), *body(stage).get("outs", [])]
    templates = {match.split(".")[0] for text in named for match in re.findall(r"\$\{([^}]+)\}", str(text))}
    assert templates - {"item", "key"} <= fields(stage)


@pytest.mark.parametrize("stage", GRAPH)
def test_a_broken_section_stops_the_stages_that_read_it_alone(stage: str) -> None:
    everything = raw()
    own = read_own(declared(stage), everything)
    others = dict.fromkeys(set(everything) - fields(stage), "broken")
    assert read_own(declared(stage), {**everything, **others, "no_section": 1}) == own
    for name in fields(stage):
        with pytest.raises(UserError, match=rf"^params\.yaml: {name}: expected") as error:
            read_own(declared(stage), {**everything, name: [1.5]})
        assert "\n" not in str(error.value)


def schemas(module: str, seen: set[str] | None = None) -> set[str]:
    """First-party modules that a module's imports lead to, those inside of functions too."""
    seen = set() if seen is None else seen
    path = PROJECT / Path(*module.split(".")).with_suffix(".py")
    path = path if path.is_file() else path.with_suffix("") / "__init__.py"
    if module in seen or not path.is_file() or not module.startswith("stages."):
        return seen
    seen.add(module)
    for node in running(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            for name in node.names:
                schemas(f"{node.module}.{name.name}", seen)
            schemas(node.module or "", seen)
        elif isinstance(node, ast.Import):
            for name in node.names:
                schemas(name.name, seen)
    return seen


def test_a_stage_knows_no_other_systems_schema() -> None:
    assert {name for name in schemas("stages.corpus") if name.startswith("stages.params.")} == {
        f"stages.params.{name}" for name in ("checks", "corpora", "runtime", "schema")
    }
    for stage in GRAPH:
        assert "stages.params.whole" not in schemas(f"stages.{stage}"), stage
    resynthesis = schemas("stages.train_resynthesis") | schemas("stages.train_f0_vq")
    softvc = {name for stage in ("softvc", "train_acoustic", "train_vocoder") for name in schemas(f"stages.{stage}")}
    assert "stages.params.softvc" in softvc - resynthesis and "stages.params.resynthesis" in resynthesis - softvc


def test_a_file_brings_its_sections() -> None:
    """Every section of the whole stands in some file's ``SECTIONS``, and every file but the shared parts has some."""
    found = {
        path.stem: set(getattr(importlib.import_module(f"stages.params.{path.stem}"), "SECTIONS", ()))
        for path in (PROJECT / "stages/params").glob("*.py")
    }
    assert set().union(*found.values()) == {field.name for field in dataclasses.fields(Params)} == set(raw())
    parts = {name for name, sections in found.items() if not sections}
    assert parts - set(whole.READERS) == {"__init__", "checks", "hifigan", "schema", "training"}


def test_checks_across_sections_are_made_where_all_of_them_are_read() -> None:
    everything = raw()
    everything["roles"]["target"] = "nobody"
    with pytest.raises(UserError, match=r"params\.yaml: roles\.target names corpus 'nobody', but corpora has demo"):
        read_own(declared("synthesize"), everything)
    read_own(declared("kmeans"), everything)  # which reads roles, and no corpora
    checks.check({})
