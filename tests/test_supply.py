"""What is installed: hashes for all of it, versions that agree, nothing that is known to be stolen."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).resolve().parents[1]
LOCKS = ("requirements.lock", "requirements-build.lock")
# Published by a thief, with code that steals credentials: GHSA-w37p-236h-pfx3.
STOLEN = {"lightning": ("2.6.2", "2.6.3")}
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text())
EXTRAS = {name: list(map(Requirement, x)) for name, x in PYPROJECT["project"]["optional-dependencies"].items()}
CORE = [Requirement(line) for line in PYPROJECT["project"]["dependencies"]]


def pins(name: str) -> dict[str, str]:
    found = re.findall(r"^([\w.-]+)==([^\s;#]+)", (PROJECT / name).read_text(), re.MULTILINE)
    assert found
    return {canonicalize_name(package): version for package, version in found}


def wanted(*extras: str) -> list[Requirement]:
    """The requirements of extras, those of other extras of ours that they include among them."""
    found = list(chain.from_iterable(EXTRAS[extra] for extra in extras))
    inner = list(chain.from_iterable(r.extras for r in found if r.name == "respeak"))
    return [r for r in found if r.name != "respeak"] + (wanted(*inner) if inner else [])


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_hashes_and_the_version_of_constraints(lock: str) -> None:
    text = (PROJECT / lock).read_text()
    entries = re.split(r"\n(?=[a-zA-Z])", text)[1:] if text.startswith("#") else re.split(r"\n(?=[a-zA-Z])", text)
    assert len(entries) == len(re.findall(r"^[\w.-]+==", text, re.MULTILINE))
    for entry in entries:
        assert re.match(r"[\w.-]+==\S+", entry), entry
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry
    assert "://" not in text, "a lock names no registry"
    constraints = pins("constraints.txt")
    here = {package: version for package, version in pins(lock).items() if package in constraints}
    assert here == {package: constraints[package] for package in here}
    elsewhere = {re.match(r"[\w.-]+", e)[0] for e in entries if ";" in e.splitlines()[0]}  # type: ignore[index]
    assert set(pins(lock)) - set(here) <= elsewhere, "only what another platform or Python needs is not constrained"


def test_what_the_project_asks_for_is_locked_all_but_torch() -> None:
    locked, constraints = pins("requirements.lock"), pins("constraints.txt")
    for requirement in [*CORE, *wanted(*EXTRAS)]:
        name = canonicalize_name(requirement.name)
        assert requirement.specifier.contains(constraints[name]), requirement
        assert (name in locked) == (name != "torch"), requirement


def test_stolen_releases_are_refused() -> None:
    asked = [*CORE, *wanted(*EXTRAS)]
    for name, versions in STOLEN.items():
        mine = [r for r in asked if r.name == name]
        assert mine
        for version in versions:
            assert not any(r.specifier.contains(version) for r in mine)
            for file in (*LOCKS, "constraints.txt"):
                assert pins(file).get(name) != version
                assert pins(file).get(f"pytorch-{name}") != version


def test_the_light_core_does_without_the_pipelines_packages() -> None:
    light = {canonicalize_name(r.name) for r in CORE}
    assert not light & {"torchaudio", "lightning", "mlflow", "dvc", "prefect", "scikit-learn", "pandas", "librosa"}
    assert {"torchaudio"} <= {r.name for r in wanted("train")}
    assert {"torchaudio", "lightning", "filelock"} <= {r.name for r in wanted("pipeline")}


def test_an_encoder_without_torchaudio_says_in_one_line_what_to_install() -> None:
    code = (
        "import sys; sys.modules['torchaudio'] = None; sys.modules['torchaudio.models'] = None\n"
        "from models.encoders.hubert import Hubert\n"
        "from speech.errors import UserError\n"
        "try: Hubert(layer=1, layers=1, heads=2, dim=8)\n"
        "except UserError as error: print(error)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert found.stdout == "encoders of HuBERT's family need torchaudio: pip install 'respeak[hubert]'\n"


def outside_of_make() -> dict[str, str]:
    """The environment without what a make that runs the tests hands on to others, its variables among them."""
    handed = ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "VENV", "S", "G")
    return {name: value for name, value in os.environ.items() if name not in handed}


def test_make_keeps_the_words_of_a_value_together(tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    (folder / "Makefile").write_text((PROJECT / "Makefile").read_text())
    (folder / "bin").mkdir()
    values = "scale=smoke 'roles.train=my voice' kmeans.k=[50,100] x=*"
    script = '@$(call arguments,S,-S) printf "%s\\n" "$(BIN)" "$${args[@]}"'
    show = ["make", "-s", "-f", "Makefile", "--eval", f"show:\n\t{script}", "show"]
    how = {"cwd": folder, "env": outside_of_make(), "capture_output": True, "text": True}
    found = subprocess.run([*show, f"S={values}"], check=True, **how)
    words = ["-S", "scale=smoke", "-S", "roles.train=my voice", "-S", "kmeans.k=[50,100]", "-S", "x=*"]
    assert found.stdout.splitlines() == [f"{folder}/.venv/bin", *words]
    unmatched = subprocess.run([*show, "S=a='b"], check=False, **how)
    assert unmatched.returncode
    nothing = subprocess.run(show, check=True, **how)
    assert nothing.stdout.splitlines() == [f"{folder}/.venv/bin"]


def test_make_in_an_archive_says_what_makes_it_a_repository(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text((PROJECT / "Makefile").read_text())
    found = subprocess.run(["make", "repository"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert found.returncode
    assert "git init && git add --all && git commit" in found.stderr.splitlines()[0]
