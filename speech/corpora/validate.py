"""Faults of a corpus on disk, found before hours are spent on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speech.audio.containers import file_of
from speech.corpora import CORPORA, Listing, prepare


def validate(adapter: str, root: Path, seed: int, options: Mapping[str, Any]) -> tuple[Listing, list[str]]:
    """Read a corpus and hold it against what is known of it: the listing, and a line for each problem.

    Looked at are files that are missing or empty, ids that occur twice, recordings that cannot be used, splits
    without any, and, for the whole of a public corpus or subset, the number of its recordings. Nothing is decoded.

    Raises:
        UserError: as ``prepare``.
    """
    listing = prepare(adapter, root, root, seed, options)
    ids = Counter(entry.id for entry in listing.entries)
    problems = [f"id '{id_}' occurs {count} times" for id_, count in ids.items() if count > 1]
    sizes = {file: _size(listing.base / file) for file in {str(file_of(entry.path)) for entry in listing.entries}}
    problems += [f"{file}: missing" for file, size in sorted(sizes.items()) if size is None]
    problems += [f"{file}: empty" for file, size in sorted(sizes.items()) if size == 0]
    problems += [f"{path}: {reason}" for path, reason in listing.rejects]
    present = {entry.split for entry in listing.entries}
    problems += [f"no recording is for '{split}'" for split in ("train", "valid", "test") if split not in present]
    return listing, problems + _counts(adapter, listing)


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _counts(adapter: str, listing: Listing) -> list[str]:
    expected: Mapping[str, int] = getattr(CORPORA[adapter], "COUNTS", {})
    paths = [entry.path for entry in listing.entries]
    found = {prefix: sum(path.startswith(prefix) for path in paths) for prefix in expected}
    return [
        f"{prefix or 'the corpus'}: {count} recordings, the complete one has {expected[prefix]}"
        for prefix, count in found.items()
        if 0 < count != expected[prefix]
    ]
