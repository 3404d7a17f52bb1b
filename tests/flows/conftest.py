"""A small DVC project, run by real `dvc` processes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from flows.reproduction import find_dvc_program


@pytest.fixture
def empty_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git and DVC project without stages, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RESPEAK_TRACKING", "local")
    for name in ("DVC_ROOT", "DVC_STAGE", "PREFECT_API_URL", "RESPEAK_SESSION"):
        monkeypatch.delenv(name, raising=False)
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run([find_dvc_program(), "init", "-q"], check=True)
    return tmp_path
