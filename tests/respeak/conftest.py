"""Fixtures of the respeak room."""

from __future__ import annotations

from pathlib import Path

import pytest

from respeak import System
from tests.respeak.tiny import make_bundle


@pytest.fixture(scope="session")
def bundle_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny bundle; read-only."""
    return make_bundle(tmp_path_factory.mktemp("systems") / "tiny")


@pytest.fixture(scope="session")
def system(bundle_dir: Path) -> System:
    return System.load(bundle_dir, "cpu")
