"""Files of the judges' weights; an absent one is named together with the address that has it."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from respeak.weights import cached
from speech.errors import UserError
from speech.fetching.downloads import file_sha256


def judge_weights(url: str, path: str, key: str, name: str = "") -> Path:
    """Return the file of a judge's weights; nothing is fetched.

    Args:
        url: where it is published.
        path: where the parameters say it lies; empty: in the cache, under ``name``.
        key: the parameter, for messages.
        name: in the cache; empty: the end of its address.

    Raises:
        UserError: it is not there; names the file and the address.
    """
    file = Path(path) if path else cached(name or url)
    if not file.is_file():
        raise UserError(f"{key}: {file}: not found; get {url} and put it there, or name in {key} where you have it")
    return file


@functools.cache
def files_digest(*files: Path) -> str:
    """Hash the names and contents of files to one digest."""
    return hashlib.sha256("".join(f"{file.name} {file_sha256(file)}\n" for file in files).encode()).hexdigest()[:16]
