"""Files from the web by address and sha256: resumed where they stopped, whole and checked or not there at all."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import http.client
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from speech.errors import UserError

TIMEOUT = 60.0  # seconds without a byte
ATTEMPTS = 4  # connections that break before it is given up
BLOCK = 1 << 20
SHORTEST_DIGEST = 8  # digits: what torch's hub puts into names of files


class _BrokenError(Exception):
    """A connection that ended early; what came so far is kept."""


def fetch(url: str, sha256: str, target: Path | str, *, size: int | None = None, progress: bool = True) -> Path:
    """Give ``target``, downloaded if it is not there, with this sha256.

    Bytes go to ``.<name>.part`` beside it, which a later call continues; the name appears only after the check. A
    continued download that does not have the sha256 is fetched once more from its start. Two processes that fetch
    one target wait for each other.

    Args:
        url: http or https address.
        sha256: hexadecimal digest of the whole file, or its first digits, eight at least, where no more is published.
        target: where it goes; folders are made.
        size: expected bytes, for messages and for the check of free space.
        progress: show bytes on stderr, if that is a terminal.

    Raises:
        UserError: offline, refused, cut off again and again, no space, or other bytes than expected (which are
            deleted, except those of a ``target`` that was there before).
    """
    target = Path(target)
    if len(sha256) < SHORTEST_DIGEST:
        raise UserError(f"{url}: sha256 '{sha256}' is too short to tell files apart; give the whole digest")
    if target.is_file():
        return _verified(target, sha256)
    if not url.startswith(("http://", "https://")):
        raise UserError(f"{url}: cannot be fetched; only http and https addresses can")
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked_part(target) as (part, file):
        if target.is_file():  # another process was first
            return _verified(target, sha256)
        resumed = file.tell() > 0
        _download(url, file, target, size, progress)
        if resumed and not file_sha256(part).startswith(sha256):
            _empty(file)
            _download(url, file, target, size, progress)
        found = file_sha256(part)
        if not found.startswith(sha256):
            _empty(file)
            raise UserError(
                f"{url}: sha256 is {found}, expected {sha256}; not kept. Another version, or tampered with?"
            )
        part.replace(target)
    return target


def file_sha256(path: Path | str) -> str:
    """Compute the hexadecimal sha256 of a file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe_size(size: int | None) -> str:
    """Return bytes in words for people: ``378 MB``."""
    if size is None:
        return "size unknown"
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.3g} {unit}"
    return f"{size} bytes"


def _verified(target: Path, sha256: str) -> Path:
    found = file_sha256(target)
    if not found.startswith(sha256):
        raise UserError(f"{target}: sha256 is {found}, expected {sha256}; delete it to have it fetched again")
    return target


@contextmanager
def _locked_part(target: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """Open the partial file for appending, locked; an empty one does not stay behind."""
    part = target.with_name(f".{target.name}.part")
    while True:
        file = part.open("ab")
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0, os.SEEK_END)
        # Whoever held the lock before may have renamed or removed this very file.
        if target.is_file() or (part.exists() and part.stat().st_ino == _inode(file)):
            break
        file.close()
    try:
        yield part, file
    finally:
        if part.exists() and part.stat().st_size == 0 and part.stat().st_ino == _inode(file):
            part.unlink()
        file.close()


def _empty(file: BinaryIO) -> None:
    file.seek(0)
    file.truncate()


def _inode(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_ino


def _download(url: str, file: BinaryIO, target: Path, size: int | None, progress: bool) -> None:
    """Append to ``file`` until the server has no more; broken connections are continued."""
    free, needed = shutil.disk_usage(target.parent).free, (size or 0) - file.tell()
    if needed > free:
        raise UserError(f"{target.parent}: {describe_size(free)} free, {describe_size(needed)} needed for {url}")
    for _ in range(ATTEMPTS):
        before = file.tell()
        try:
            _receive(url, file, target, size, progress)
            return
        except urllib.error.HTTPError as error:
            raise UserError(
                f"{url}: the server answered {error.code} {error.reason}; "
                f"get the file ({describe_size(size)}) elsewhere and put it at {target}"
            ) from None
        except (_BrokenError, OSError, http.client.HTTPException) as error:
            if getattr(error, "errno", None) == errno.ENOSPC:
                raise UserError(f"{target.parent}: no space left for {url} ({describe_size(size)})") from None
            if file.tell() == before:
                _give_up(url, target, size, error)
            reason = error
    raise UserError(f"{url}: cut off {ATTEMPTS} times at {file.tell()} bytes ({reason}); run again to continue")


def _give_up(url: str, target: Path, size: int | None, error: Exception) -> None:
    cause = getattr(error, "reason", None) or error
    raise UserError(
        f"{url}: cannot be reached ({cause}); go online, or put the file ({describe_size(size)}) at {target}"
    ) from None


def _receive(url: str, file: BinaryIO, target: Path, size: int | None, progress: bool) -> None:
    have = file.tell()
    headers = {"User-Agent": "respeak", **({"Range": f"bytes={have}-"} if have else {})}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - fetch lets http and https through only
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)  # noqa: S310
    except urllib.error.HTTPError as error:
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE or not have:
            raise
        return  # nothing lies beyond what is here; the digest tells whether it is the file
    with response:
        if have and response.status != http.client.PARTIAL_CONTENT:
            _empty(file)  # the server cannot continue and sends all of it
            have = 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        meter = _Meter(target.name, total or size) if progress and sys.stderr.isatty() else None
        try:
            while block := response.read(BLOCK):
                file.write(block)
                if meter:
                    meter.show(file.tell())
        finally:
            file.flush()
    if total is not None and file.tell() < total:
        raise _BrokenError(f"{file.tell()} of {total} bytes came")


class _Meter:
    """A line on the terminal, renewed twice a second."""

    def __init__(self, name: str, total: int | None) -> None:
        self.name, self.total, self.next = name, total, 0.0

    def show(self, done: int) -> None:
        """Print how many bytes are there."""
        if time.monotonic() < self.next and done != self.total:
            return
        self.next = time.monotonic() + 0.5
        end = "\n" if done == self.total else ""
        sys.stderr.write(f"\r{self.name}: {describe_size(done)} of {describe_size(self.total)} {end}")
        sys.stderr.flush()
