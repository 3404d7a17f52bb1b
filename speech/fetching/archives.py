"""Archives unpacked with distrust: regular files only, below the target only, and no more bytes than announced."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO

from speech.errors import UserError

# Recordings hardly compress: more than this many times the archive's size is no corpus.
MAX_RATIO = 20
MAX_FILES = 5_000_000
SMALLEST_LIMIT = 1 << 20  # bytes; text in a tiny archive may compress better than the ratio allows
_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, LZMAError, EOFError, OSError)


def unpack(archive: Path | str, target: Path | str, top: str = "", *, max_ratio: int = MAX_RATIO) -> int:
    """Unpack a tar (gz, bz2, xz or plain) or zip archive and return the number of files.

    Only regular files come out, each whole or not at all; folders are made as needed, owners and modes are
    ignored. What was there before under the same name is replaced.

    Args:
        archive: the file; its content decides what it is.
        target: folder that receives the files.
        top: a leading folder to take off the names, where they have it (``LJSpeech-1.1``).
        max_ratio: unpacked bytes allowed, as a multiple of the archive's size.

    Raises:
        UserError: not an archive, damaged, an absolute or parent path, a link or device, or far too much in it.
    """
    archive, target = Path(archive), Path(target)
    if not archive.is_file():
        raise UserError(f"{archive}: no such archive")
    limit = max(archive.stat().st_size * max_ratio, SMALLEST_LIMIT)
    count = written = 0
    try:
        for name, source in _members(archive):
            count += 1
            if count > MAX_FILES:
                raise UserError(f"{archive}: holds more than {MAX_FILES} files; not unpacked further")
            written += _write(target / _inside(archive, name, top), source, archive, limit - written)
    except _DAMAGE as error:
        raise UserError(f"{archive}: damaged or cut short ({error}); delete it and fetch it again") from None
    return count


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            for member in packed.infolist():
                if member.is_dir():
                    continue
                if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
                    raise UserError(f"{archive}: '{member.filename}' is a link or device; not unpacked")
                with packed.open(member) as source:
                    yield member.filename, source
        return
    with tarfile.open(archive, "r|*") as stream:
        for entry in stream:
            if entry.isdir():
                continue
            if not entry.isreg():
                raise UserError(f"{archive}: '{entry.name}' is a link or device; not unpacked")
            yield entry.name, stream.extractfile(entry) or io.BytesIO()


def _inside(archive: Path, name: str, top: str) -> PurePosixPath:
    """Return the member's path below the target."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise UserError(f"{archive}: '{name}' points outside the folder it is unpacked to; not unpacked")
    parts = path.parts[1:] if top and path.parts[:1] == (top,) else path.parts
    if not parts:
        raise UserError(f"{archive}: '{name}' is no file name; not unpacked")
    return PurePosixPath(*parts)


def _write(path: Path, source: IO[bytes], archive: Path, allowed: int) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    # No flush to disk for each of a hundred thousand files: whoever unpacks a corpus marks the end of it.
    temporary = path.with_name(f".{path.name}.part")
    written = 0
    try:
        with temporary.open("wb") as file:
            while block := source.read(1 << 20):
                written += len(block)
                if written > allowed:
                    raise UserError(f"{archive}: unpacks to far more than its size; not unpacked further")
                file.write(block)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return written
