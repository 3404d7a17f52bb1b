"""Fixtures of the respeak room."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from respeak import System
from respeak.cli import app
from tests.respeak.tiny import Respeak, make_bundle


@pytest.fixture(scope="session")
def bundle_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny bundle; read-only."""
    return make_bundle(tmp_path_factory.mktemp("systems") / "tiny")


@pytest.fixture(scope="session")
def system(bundle_dir: Path) -> System:
    return System.load(bundle_dir, "cpu")


@pytest.fixture()
def respeak(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Respeak:
    """Run the command in this process: exit status, stdout, stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["respeak", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            app.main()
        output = capsys.readouterr()
        return int(caught.value.code or 0), output.out, output.err

    return run
