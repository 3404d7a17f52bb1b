"""Public corpora fetched and unpacked in place, with a marker that stands when that is complete."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from speech.errors import UserError
from speech.fetching.archives import unpack
from speech.fetching.downloads import fetch
from speech.storage.files import write_json, write_text

DOWNLOADS = ".downloads"
COMPLETED, INCOMPLETE = ".completed", ".incomplete"


@dataclass(frozen=True)
class Archive:
    """An archive of a corpus: address, sha256, about how many bytes, and the leading folder of its names."""

    url: str
    sha256: str
    size: int
    top: str = ""

    @property
    def name(self) -> str:
        """File name."""
        return self.url.rsplit("/", 1)[-1]


def install(archives: Sequence[Archive], root: Path, mirror: str = "") -> None:
    """Fetch archives and unpack them into ``root``; those with a completion marker there are left as they are.

    A download goes on where it stopped; unpacking that was interrupted starts anew. An archive is deleted once it is
    unpacked.

    Args:
        archives: what to fetch.
        root: the corpus's folder, made if missing.
        mirror: fetch ``<mirror>/<file name>`` instead of the corpus's own address.

    Raises:
        UserError: as ``speech.fetching.downloads.fetch`` and ``speech.fetching.archives.unpack``.
    """
    for archive in archives:
        if is_complete(root, archive.name):
            continue
        url = f"{mirror.rstrip('/')}/{archive.name}" if mirror else archive.url
        packed = fetch(url, archive.sha256, root / DOWNLOADS / archive.name, size=archive.size)
        begin(root, archive.name)
        count = unpack(packed, root, archive.top)
        complete(root, archive.name, {"url": archive.url, "sha256": archive.sha256, "files": count})
        packed.unlink()
    if (root / DOWNLOADS).is_dir() and not any((root / DOWNLOADS).iterdir()):
        (root / DOWNLOADS).rmdir()


def is_complete(root: Path, name: str) -> bool:
    """Return whether ``name`` was fetched and unpacked to the end."""
    return (root / f".{name}{COMPLETED}").is_file()


def begin(root: Path, name: str) -> None:
    """Mark that files of ``name`` are being written."""
    write_text(root / f".{name}{INCOMPLETE}", "")


def complete(root: Path, name: str, facts: dict[str, object]) -> None:
    """Mark that all files of ``name`` are there."""
    write_json(root / f".{name}{COMPLETED}", facts)
    (root / f".{name}{INCOMPLETE}").unlink(missing_ok=True)


def check_complete(root: Path) -> None:
    """Refuse a folder in which unpacking was interrupted.

    Raises:
        UserError: names the archive.
    """
    for marker in sorted(root.glob(f".*{INCOMPLETE}")) if root.is_dir() else []:
        name = marker.name[1 : -len(INCOMPLETE)]
        raise UserError(f"{root}: {name} is not completely there; run 'respeak corpus download' again")


def chosen(archives: dict[str, Archive], names: Sequence[str], what: str) -> list[Archive]:
    """Return the archives of these names.

    Raises:
        UserError: one that there is none of.
    """
    if unknown := [name for name in names if name not in archives]:
        raise UserError(f"{what} '{unknown[0]}' cannot be downloaded; known are {', '.join(archives)}")
    return [archives[name] for name in names]
