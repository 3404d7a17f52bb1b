"""A small DVC project, run by real `dvc` processes."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from flows.reproduction import find_dvc_program


@pytest.fixture(autouse=True)
def own_environment() -> Iterator[None]:
    """A command sets variables for Prefect that end with its process; here the process goes on to the next test."""
    with mock.patch.dict(os.environ):
        yield


@pytest.fixture
def heard_interrupts() -> Iterator[None]:
    """Children hear SIGINT, though a shell in the background has it ignored; the flow's own handler does the same."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


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
