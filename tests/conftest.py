"""Fixtures of all rooms."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Before anything imports torch: two busy test processes must not wait on each other's threads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A stage run by a test keeps its journal and starts no collector.
os.environ.setdefault("RESPEAK_TRACKING", "local")

PROJECT = Path(__file__).resolve().parents[1]


def _shared(name: str) -> Path:
    path = PROJECT.parent / "shared" / name
    if not path.is_dir():
        reason = f"needs real recordings or vectors in ../shared/{name}, which a plain clone does not have"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder that holds ``data/`` (real recordings) and ``golden/`` (vectors of the original code)."""
    return _shared("data").parent


@pytest.fixture(scope="session")
def project() -> Path:
    """The project's root."""
    return PROJECT


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One empty MLflow database to copy: making the schema takes seconds."""
    from stages.tracking.collector import Collector

    root = tmp_path_factory.mktemp("database")
    assert Collector(root).client
    return root / "mlflow.db"
