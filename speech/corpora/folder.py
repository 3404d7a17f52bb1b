"""Your own recordings: ``speaker/...`` folders, or a table (CSV, TSV, Parquet) of path, speaker and what is known.

Any hours, any licence: yours. wav, flac, mp3, ogg and opus, any depth below the speaker's folder. A table has the
columns ``path`` (relative to the table's folder) and ``speaker``, and optionally ``text``, ``split`` (train, valid,
test) and ``language``.
"""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any

from speech.corpora.listing import SPLITS, Entry, Listing, find_files, seeded_splits
from speech.errors import UserError

SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus")
LAYOUT = f"<speaker>/... with {', '.join(SUFFIXES)} files, or a .csv, .tsv or .parquet table of path, speaker, text"
SPLIT_ALIASES = {"dev": "valid", "val": "valid", "validation": "valid"}


def prepare(
    root: Path,
    out: Path,
    seed: int,
    *,
    valid_share: float = 0.1,
    test_share: float = 0.1,
    language: str = "en",
    speaker: str = "folder",
) -> Listing:
    """List a folder, or a table if ``root`` is a file.

    In a folder, ``speaker`` tells who speaks (:func:`speaker_of`); a table states it. Where no split is given,
    these shares of each speaker's utterances become validation and test; every speaker keeps one to train on. Ids are
    paths without suffix, ``/`` written ``--``; where two recordings would share one, a hash of the whole path is
    appended to both.

    Raises:
        UserError: nothing at ``root``, a missing column, a missing value, an unknown split or rule for the speaker.
    """
    base = root.parent if root.is_file() else root
    rows, rejects = (_read_table(root), []) if root.is_file() else _read_tree(root, speaker)
    ids = _unique_ids([row["path"] for row in rows])
    drawn = seeded_splits(
        {id_: row["speaker"] for id_, row in zip(ids, rows, strict=True) if not row.get("split")},
        seed,
        float(valid_share),
        float(test_share),
    )
    entries = [
        Entry(
            id_,
            row["path"],
            row["speaker"],
            row.get("text") or None,
            row.get("split") or drawn[id_],
            row.get("language") or language,
        )
        for id_, row in zip(ids, rows, strict=True)
    ]
    return Listing(base, entries, rejects)


def speaker_of(path: str, rule: str) -> str:
    """Return who speaks in the recording at ``path``, relative to the corpus's folder.

    Rules: ``folder`` (the outermost folder), ``parent`` and ``grandparent`` (the innermost two), ``prefix`` (the
    file's name up to the first underscore) and ``single`` (one speaker, who is called ``A``). All but the first are
    those of the resynthesis paper's code. Empty where there is no such folder.

    Raises:
        UserError: an unknown rule.
    """
    parts = PurePosixPath(path).parts
    places = {"folder": parts[:-1][:1], "parent": parts[:-1][-1:], "grandparent": parts[:-2][-1:]}
    if rule in places:
        return "".join(places[rule])
    if rule == "prefix":
        return PurePosixPath(path).stem.partition("_")[0]
    if rule == "single":
        return "A"
    raise UserError(f"corpus option speaker: '{rule}' is not one of {', '.join([*places, 'prefix', 'single'])}")


def _read_tree(root: Path, rule: str) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    rows, rejects = [], []
    for path in find_files(root, SUFFIXES, LAYOUT):
        relative = path.relative_to(root).as_posix()
        if speaker := speaker_of(relative, rule):
            rows.append({"path": relative, "speaker": speaker})
        else:
            rejects.append((relative, "lies in no speaker's folder"))
    if not rows:
        raise UserError(f"{root}: recordings lie in no speaker's folder; expected {LAYOUT}")
    return rows, rejects


def _read_table(path: Path) -> list[dict[str, Any]]:
    rows, columns = _table_rows(path)
    for name in ("path", "speaker"):
        if name not in columns:
            raise UserError(f"{path}: column '{name}' is missing; found {', '.join(columns) or 'no columns'}")
    if not rows:
        raise UserError(f"{path}: the table has no rows; expected {LAYOUT}")
    return [_checked_row(path, number, row) for number, row in enumerate(rows, start=1)]


def _table_rows(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                reader = csv.DictReader(file, delimiter="\t" if suffix == ".tsv" else ",")
                return list(reader), list(reader.fieldnames or [])
        except (UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"{path}: not a readable UTF-8 table ({error})") from None
    if suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(path)
        except (pa.ArrowInvalid, OSError) as error:
            raise UserError(f"{path}: not a readable Parquet table ({str(error).splitlines()[0]})") from None
        return table.to_pylist(), table.column_names
    raise UserError(f"{path}: not a corpus; expected {LAYOUT}")


def _checked_row(table: Path, number: int, row: dict[str, Any]) -> dict[str, Any]:
    kept = {key: row.get(key) for key in ("path", "speaker", "text", "split", "language")}
    read = {key: "" if value is None else str(value).strip() for key, value in kept.items()}
    for name in ("path", "speaker"):
        if not read[name]:
            raise UserError(f"{table}: row {number} has no {name}")
    read["split"] = SPLIT_ALIASES.get(read["split"], read["split"])
    if read["split"] not in ("", *SPLITS):
        raise UserError(f"{table}: row {number} has split '{read['split']}'; known are {', '.join(SPLITS)}")
    return read


def _unique_ids(paths: list[str]) -> list[str]:
    plain = [str(Path(path).with_suffix("")).strip("/").replace("/", "--") for path in paths]
    count = Counter(plain)
    return [
        id_ if count[id_] == 1 else f"{id_}-{hashlib.sha256(path.encode()).hexdigest()[:8]}"
        for id_, path in zip(plain, paths, strict=True)
    ]
