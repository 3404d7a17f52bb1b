"""Archives that want out of their folder, and archives that are broken."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from speech.errors import UserError
from speech.fetching.archives import unpack

FILES = {"Corpus-1/wavs/a.wav": b"a" * 5000, "Corpus-1/README": b"words", "other.txt": b""}


def make_tar(path: Path, files: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def make_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def tree(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", ["w", "w:gz", "w:bz2", "w:xz", "zip"])
def test_files_come_out_below_the_target_without_the_leading_folder(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "corpus.archive"
    archive = make_zip(path, FILES) if kind == "zip" else make_tar(path, FILES, kind)
    target = tmp_path / "out"
    assert unpack(archive, target, "Corpus-1") == 3
    assert tree(target) == {"wavs/a.wav": b"a" * 5000, "README": b"words", "other.txt": b""}


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/tmp/evil", "a\\..\\evil"])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_paths_that_lead_outside_are_refused(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / "in" / "corpus.archive"
    path.parent.mkdir()
    archive = make_tar(path, {name: b"x"}) if kind == "tar" else make_zip(path, {name: b"x"})
    with pytest.raises(UserError, match="points outside"):
        unpack(archive, tmp_path / "in/out")
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["corpus.archive"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "corpus.tar"
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("wavs")
        info.type, info.linkname = kind, "/etc"
        archive.addfile(info)
    with pytest.raises(UserError, match="link or device"):
        unpack(path, tmp_path / "out")


def test_links_in_zip_archives_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "corpus.zip"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("wavs")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc")
    with pytest.raises(UserError, match="link or device"):
        unpack(path, tmp_path / "out")


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_bombs_stop_at_the_limit(tmp_path: Path, kind: str) -> None:
    files = {f"{number}.wav": bytes(1 << 20) for number in range(3)}
    path = tmp_path / "bomb"
    archive = make_tar(path, files) if kind == "tar" else make_zip(path, files)
    with pytest.raises(UserError, match="far more than its size"):
        unpack(archive, tmp_path / "out")
    assert sum(map(len, tree(tmp_path / "out").values())) <= 1 << 20
    assert unpack(archive, tmp_path / "out", max_ratio=10_000) == 3


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_cut_archive_is_damaged(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "cut"
    archive = make_tar(path, FILES) if kind == "tar" else make_zip(path, FILES)
    archive.write_bytes(archive.read_bytes()[:-120])
    with pytest.raises(UserError, match="damaged or cut short"):
        unpack(archive, tmp_path / "out")
    archive.write_bytes(b"<html>not found</html>" * 100)
    with pytest.raises(UserError, match="damaged or cut short"):
        unpack(archive, tmp_path / "out")
