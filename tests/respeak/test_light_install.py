"""The light install: an environment made here of the light dependencies alone, where systems are used as callers do."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import pytest
import soundfile
from packaging.requirements import Requirement

ABSENT = ("lightning", "dvc", "prefect", "mlflow", "pandas", "sklearn", "hydra", "resemblyzer", "pytest")
CALLER = """
import sys
import models, torch
import numpy as np
project, bundle = sys.argv[1:]
system = torch.hub.load(project, "system", bundle, device="cpu", source="local", trust_repo=True)
time = np.arange(16000) / 16000
wave = system.convert(0.3 * np.sin(2 * np.pi * 150 * time * (1 + time)).astype(np.float32), 16000, target="theo")
assert 0 < len(wave) <= 16000 and np.abs(wave).max() > 0
assert torch.hub.load(project, "hifigan_hubert_soft", source="local", trust_repo=True, pretrained=False)
assert models.MINE and sys.modules["models"].MINE and project not in sys.path
"""
COMMAND = "from respeak.cli.app import main; main()"


def closure(requirements: list[str]) -> dict[str, Distribution]:
    """Distributions of this environment that requirements lead to, by name; as pip resolves them, without a network."""
    found: dict[str, Distribution] = {}
    queue = [Requirement(line) for line in requirements]
    while queue:
        wanted = queue.pop()
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        name = wanted.name.lower().replace("_", "-")
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:  # another platform's or a GPU's, which this environment's torch does without
            continue
        queue += [Requirement(line) for line in found[name].requires or []]
    return found


@pytest.fixture(scope="module")
def light(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds pyproject's dependencies, linked from this one."""
    folder = tmp_path_factory.mktemp("light") / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    site = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    declared = tomllib.loads((project / "pyproject.toml").read_text())["project"]["dependencies"]
    for known in closure(declared).values():
        for top in {file.parts[0] for file in known.files or [] if file.parts[0] not in ("..", "__pycache__")}:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(known.locate_file(top))))
    return folder / "bin/python"


@pytest.fixture()
def caller(tmp_path: Path) -> Path:
    """A folder of a caller's, who has a package of his own called models, and a recording."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models/__init__.py").write_text("MINE = True\n")
    time = np.arange(8000) / 16000
    soundfile.write(tmp_path / "in.wav", 0.3 * np.sin(2 * np.pi * 150 * time * (1 + time)), 16000)
    return tmp_path


def run(light: Path, caller: Path, program: str, *arguments: object, path: Path | str = "") -> str:
    environment = {"PATH": os.environ["PATH"], "HOME": str(caller), "PYTHONPATH": str(path), "OMP_NUM_THREADS": "1"}
    command = [light, "-P", "-c", program, *map(str, arguments)]
    done = subprocess.run(command, cwd=caller, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_nothing_of_the_pipeline_is_there(light: Path, caller: Path) -> None:
    program = f"import importlib.util as i; print([n for n in ('torch', *{ABSENT!r}) if i.find_spec(n)])"
    assert run(light, caller, program).strip() == "['torch']"


def test_the_hub_converts_beside_the_callers_own_models(
    light: Path, caller: Path, bundle_dir: Path, project: Path
) -> None:
    run(light, caller, CALLER, project, bundle_dir, path=caller)


def test_the_command_converts_and_tells_what_a_system_is(
    light: Path, caller: Path, bundle_dir: Path, project: Path
) -> None:
    assert "convert" in run(light, caller, COMMAND, "--help", path=project)
    assert "12 at 50 per second" in run(light, caller, COMMAND, "info", bundle_dir, path=project)
    options = ("--system", bundle_dir, "--target", "theo", "--device", "cpu")
    assert "1 of 1 recordings written" in run(
        light, caller, COMMAND, "convert", "in.wav", "out.wav", *options, path=project
    )
    assert soundfile.info(caller / "out.wav").samplerate == 16000


def test_every_command_shows_its_help(light: Path, caller: Path, project: Path) -> None:
    program = """
import importlib
from respeak.cli.app import app
from typer.main import get_command
from typer.testing import CliRunner
for name in get_command(app).commands:
    done = CliRunner().invoke(app, [name, "--help"])
    assert done.exit_code == 0 and "Usage" in done.output, (name, done.output)
"""
    run(light, caller, program, path=project)
