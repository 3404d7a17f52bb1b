"""Fixtures of the stages room."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from stages.tracking.collector import Collector


@pytest.fixture
def empty_project(tmp_path, monkeypatch) -> Path:
    """An empty project to run in, with nothing of the settings of whoever runs the tests."""
    for name in ("MLFLOW_TRACKING_URI", "RESPEAK_SESSION", "RESPEAK_PARENT_RUN", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RESPEAK_TRACKING", "local")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def collector(empty_project, database) -> Collector:
    """The collector of that project; artifacts go where the database was made."""
    shutil.copy(database, empty_project / "mlflow.db")
    return Collector(empty_project)
