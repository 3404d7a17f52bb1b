"""The shape of the project: imports go down the rooms, and the graph names the code it runs."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.compose import compose
from stages.papers.registry import papers
from stages.runtime.declared import ROOMS, fill
from tests.imports import BYSTANDERS, code_of, lies_in

PROJECT = Path(__file__).resolve().parents[1]
SOURCES = sorted(path.relative_to(PROJECT) for room in ROOMS for path in (PROJECT / room).rglob("*.py"))
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


STAGES: dict[str, Any] = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]
# Every system, table and kind of stage.
EVERYTHING = ("scale=demo", "softvc=all", "languages=demo", "digits=train", "encoder=pretrained_demo")


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Parameters that ask for everything."""
    path = tmp_path_factory.mktemp("everything") / "params.yaml"
    compose(PROJECT, EVERYTHING, path)
    params: dict[str, Any] = yaml.safe_load(path.read_text())
    return params


def variants(stage: str, params: Mapping[str, Any]) -> list[str | None]:
    """The variants of a stage; of one that takes a list the one that its list would have."""
    if "foreach" not in STAGES[stage]:
        return [None]
    level: Any = params
    for part in STAGES[stage]["foreach"][2:-1].split("."):
        level = level[part]
    return [*level] or ["any"]


def found_by_name(stage: str, variant: str | None, params: Mapping[str, Any]) -> Iterator[str]:
    """The modules that a registry finds for a variant of a stage."""
    if stage == "synthesize":
        system = params["experiments"][variant]["system"]
        yield f"respeak.systems.{system}.system"
    elif stage == "tables":
        yield f"stages.papers.{params['tables'][variant]['paper']}"
    elif stage == "report":
        yield from (f"stages.papers.{paper}" for paper in papers())


def code_deps(stage: str, variant: str | None, params: Mapping[str, Any]) -> list[str]:
    """The code that a stage depends on; an empty file stands for none."""
    written = [dep for dep in deps_as_written(stage) if dep.split("/")[0] in ROOMS or dep == "${item.code}"]
    filled = dict.fromkeys(fill(written, stage, variant, params))
    return [dep for dep in filled if not ((PROJECT / dep).is_file() and not (PROJECT / dep).stat().st_size)]


def deps_as_written(stage: str) -> list[str]:
    deps: list[str] = STAGES[stage].get("do", STAGES[stage])["deps"]
    return deps


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_code_that_it_imports_and_on_no_other(stage: str, everything: dict[str, Any]) -> None:
    """``missing``: an import leads there, and no file or folder among ``deps`` in dvc.yaml covers it. ``vain``: none of
    the imports leads there (what is written out serves one variant at least), or it lies in another of the ``deps``.
    """
    written, led_to = deps_as_written(stage), set[str]()
    named = set[str]()
    for variant in variants(stage, everything):
        deps = code_deps(stage, variant, everything)
        code = code_of(f"stages.{stage}", *found_by_name(stage, variant, everything))
        led_to.update(code)
        named.update(deps)
        missing = [path for path in code if not lies_in(path, deps)]
        vain = [dep for dep in deps if dep not in written and not any(lies_in(path, [dep]) for path in code)]
        vain += [dep for dep in deps if lies_in(dep, [other for other in deps if other != dep])]
        assert not missing and not vain, f"{stage}@{variant}: missing {missing}; vain {vain}"
    vain = [dep for dep in named.intersection(written) if not any(lies_in(path, [dep]) for path in led_to)]
    assert not vain, f"{stage}: vain {vain}"


def test_bystanders_are_listed_nowhere() -> None:
    listed = {dep for stage in STAGES for dep in deps_as_written(stage)}
    assert not [dep for dep in listed if lies_in(dep, [*BYSTANDERS])]


@pytest.mark.parametrize("stage", STAGES)
def test_every_system_has_stages_of_its_own(stage: str, everything: dict[str, Any]) -> None:
    """Nothing that makes or speaks one system depends on the code of another."""
    systems = {e["system"]: e["code"] for e in everything["experiments"].values()}
    for variant in variants(stage, everything):
        found = {
            dep for dep in code_deps(stage, variant, everything) if dep.startswith(("respeak/systems/", "models/"))
        }
        own = {name for name, code in systems.items() if found & {code, f"respeak/systems/{name}"}}
        assert len(own) <= 1, f"{stage}@{variant}: {own}"


def test_the_graph_is_read_in_minutes() -> None:
    lines = (PROJECT / "dvc.yaml").read_text().splitlines()
    begins = [i for i, line in enumerate(lines) if len(line) - len(line.lstrip()) == 2 and line[2].isalpha()]
    ends = [*begins[1:], lines.index("plots:")]
    assert len(lines) <= 600
    assert len(begins) == len(STAGES)
    assert max(end - begin for begin, end in zip(begins, ends, strict=True)) <= 30


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_files_stay_small(path: Path) -> None:
    assert len((PROJECT / path).read_text().splitlines()) <= 400
