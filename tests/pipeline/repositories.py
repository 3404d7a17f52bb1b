"""The project as it stands, as a git repository of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

ROOMS = ("speech", "models", "respeak", "stages", "flows", "conf")
FILES = (".dvc/config", ".gitignore", ".dvcignore", "dvc.yaml", "params.yaml", "prefect.yaml")


def make_repository(project: Path, root: Path) -> Path:
    """Copy what the graph needs of ``project`` to ``root`` and commit it."""
    for name in ROOMS:
        shutil.copytree(project / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    (root / ".dvc").mkdir()
    for name in FILES:
        shutil.copy(project / name, root / name)
    (root / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n/cache\n")
    git(root, "init", "-q")
    git(root, "config", "user.name", "t")
    git(root, "config", "user.email", "t@localhost")
    commit(root, "begin")
    return root


def commit(root: Path, message: str) -> None:
    """Everything that git does not ignore."""
    git(root, "add", "-A")
    git(root, "commit", "-qm", message)


def git(root: Path, *arguments: str) -> str:
    """What git says."""
    result = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def clean_environment(root: Path) -> dict[str, str]:
    """Nothing of the settings of whoever runs the tests; MLflow's runs are collected, as a user's are."""
    ours = ("RESPEAK_", "MLFLOW_", "PREFECT_", "DVC_", "AWS_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return environment | {"PYTHONPATH": os.fspath(root), "PREFECT_LOGGING_COLORS": "false", "DVC_NO_ANALYTICS": "1"}
