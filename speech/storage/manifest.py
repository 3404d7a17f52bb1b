"""The manifest of a corpus: one row per usable utterance, headers read, sorted by id."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from speech.audio.decode import IsolatedDecoder
from speech.corpora.listing import Entry, Listing
from speech.errors import AudioError, UserError
from speech.storage.shards import MANIFEST, REJECTS, write_shard

Row = dict[str, Any]


def manifest_rows(listing: Listing) -> tuple[list[Row], list[Row]]:
    """Read every recording's header; rows of ``MANIFEST`` sorted by id, and of ``REJECTS``.

    Raises:
        UserError: two utterances share an id.
    """
    _check_unique(listing.entries)
    rows: list[Row] = []
    rejects = [reject_row(path, "corpus", reason) for path, reason in listing.rejects]
    with IsolatedDecoder() as decoder:
        for entry in sorted(listing.entries, key=lambda entry: entry.id):
            path = listing.base / entry.path
            try:
                header = decoder.header(path)
            except AudioError as error:
                rejects.append(reject_row(entry.path, "corpus", str(error).removeprefix(f"{path}: ")))
            else:
                rows.append(_row(entry, header.rate, header.num_samples))
    return rows, rejects


def write_manifest(directory: Path, root: Path, rows: Sequence[Row], rejects: Sequence[Row]) -> None:
    """Write ``manifest.parquet`` (``root`` in its metadata: what paths are relative to) and ``rejects.parquet``."""
    write_shard(directory / "manifest.parquet", rows, MANIFEST, {"stage": "corpus", "root": root.as_posix()})
    write_shard(directory / "rejects.parquet", rejects, REJECTS, {"stage": "corpus"})


def reject_row(path: str, stage: str, reason: str) -> Row:
    """Make a row of ``REJECTS``."""
    return {"path": path, "stage": stage, "reason": reason}


def check_rejects(where: str, num_kept: int, rejects: Sequence[Row], max_fraction: float) -> None:
    """Hold the rejects against what is allowed.

    Raises:
        UserError: nothing is left, or more than ``max_fraction`` was rejected; names the first file and reason.
    """
    total = num_kept + len(rejects)
    first = f"the first is {rejects[0]['path']}: {rejects[0]['reason']}" if rejects else "none was listed"
    if num_kept == 0:
        raise UserError(f"{where}: no usable recording among {total}; {first}")
    if len(rejects) > max_fraction * total:
        raise UserError(
            f"{where}: {len(rejects)} of {total} recordings were rejected, more than "
            f"runtime.max_reject_fraction {max_fraction:g}; {first}"
        )


def _row(entry: Entry, rate: int, num_samples: int) -> Row:
    return {
        "id": entry.id,
        "path": entry.path,
        "speaker": entry.speaker,
        "text": entry.text,
        "language": entry.language,
        "split": entry.split,
        "sample_rate": rate,
        "num_samples": num_samples,
        "phones": None if entry.phones is None else [phone._asdict() for phone in entry.phones],
    }


def _check_unique(entries: Sequence[Entry]) -> None:
    paths: dict[str, str] = {}
    for entry in entries:
        if entry.id in paths:
            raise UserError(f"utterance id '{entry.id}' occurs twice: {paths[entry.id]} and {entry.path}; rename one")
        paths[entry.id] = entry.path
