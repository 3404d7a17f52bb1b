"""Any Hugging Face folder of audio in Parquet: ``train-00000-of-00012.parquet ...`` with a column of recordings.

Hours, speakers and licence are those of the data set's own card. Recordings stay inside the files. Presets:

- ``hylee``: ``voidful/gen_ai_2024``, lectures in Mandarin by one man; channel 0 is taken, as the K = 2000 recipe for
  it does. Licence: see https://huggingface.co/datasets/voidful/gen_ai_2024. Recordings longer than
  ``audio.max_seconds`` are set aside.
- ``libritts``: ``blabble-io/libritts`` (586 h, CC BY 4.0, see the adapter ``libritts``), as StreamVC's reproduction
  reads it: subsets ``train.clean.100``, ``dev.clean``. https://huggingface.co/datasets/blabble-io/libritts

The split is in the file's path (``train``, ``validation`` or ``dev``, ``test``); where that is training only, shares
of each speaker's recordings are held out.
"""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from speech.audio.containers import address
from speech.corpora.install import begin, complete, is_complete
from speech.corpora.listing import Entry, Listing, find_files, seeded_splits
from speech.errors import UserError
from speech.fetching.downloads import TIMEOUT, fetch

LAYOUT = "*.parquet with a column of recordings (a Hugging Face audio folder)"
HUB = "https://huggingface.co"
SPLIT_WORD = re.compile(r"(?<![a-z])(train|validation|valid|dev|test)(?![a-z])")
SPLIT_OF = {"train": "train", "validation": "valid", "valid": "valid", "dev": "valid", "test": "test"}
# Usual names, tried in this order.
AUDIO, SPEAKER = ("audio", "speech", "wav"), ("speaker_id", "speaker", "client_id", "spk_id")
TEXT = ("text_normalized", "normalized_text", "text", "transcription", "transcript", "sentence")


@dataclass(frozen=True)
class Preset:
    """A known data set: repository, columns ('' finds them by their usual names), channel (-1: the mean of all)."""

    repository: str = ""
    audio: str = ""
    text: str = ""
    speaker: str = ""
    channel: int = -1
    language: str = "en"
    voice: str = "speaker"


PRESETS = {
    "": Preset(),
    "hylee": Preset("voidful/gen_ai_2024", channel=0, language="zh", voice="hylee"),
    "libritts": Preset("blabble-io/libritts", text="text_normalized", speaker="speaker_id"),
}


def download(
    root: Path,
    mirror: str,
    *,
    preset: str = "",
    repository: str = "",
    revision: str = "main",
    subsets: list[str] | None = None,
) -> None:
    """Fetch a public data set's Parquet files into ``root``; size and sha256 of each are as the hub lists them.

    Raises:
        UserError: no repository named or found, or as ``speech.fetching.downloads.fetch``.
    """
    repository = repository or _preset(preset).repository
    if not repository:
        raise UserError("corpus adapter 'hf_parquet': name a data set: option 'repository' (owner/name) or 'preset'")
    name = "+".join([f"{repository}@{revision}", *(subsets or [])]).replace("/", "--")
    if is_complete(root, name):
        return
    hub = (mirror or HUB).rstrip("/")
    files = [one for one in _listed(hub, repository, revision) if _wanted(one["path"], subsets)]
    if not files:
        raise UserError(f"{hub}/datasets/{repository}: no Parquet files at revision '{revision}' that fit the subsets")
    root.mkdir(parents=True, exist_ok=True)
    begin(root, name)
    for one in files:
        target = root / one["path"]
        if not target.resolve().is_relative_to(root.resolve()):
            raise UserError(f"{hub}/datasets/{repository}: '{one['path']}' points outside the folder; not fetched")
        url = f"{hub}/datasets/{repository}/resolve/{revision}/{one['path']}"
        fetch(url, one["lfs"]["oid"], target, size=one["size"])
    complete(root, name, {"repository": repository, "revision": revision, "files": len(files)})


def prepare(
    root: Path,
    out: Path,
    seed: int,
    *,
    preset: str = "",
    audio: str = "",
    text: str = "",
    speaker: str = "",
    channel: int = -1,
    language: str = "",
    subsets: list[str] | None = None,
    valid_share: float = 0.05,
    test_share: float = 0.05,
) -> Listing:
    """List the rows of every file; what an option leaves open, the preset states, then the usual names of columns.

    Args:
        root: folder with the files, at any depth.
        out: not used.
        seed: draws the held-out shares.
        preset: '', hylee or libritts.
        audio: column of recordings.
        text: column of transcripts; without one there is no text.
        speaker: column of speakers; without one all is one speaker.
        channel: 0 for the first ...; -1 for the mean of all, or the preset's.
        language: code such as en.
        subsets: keep files whose path contains one of these.
        valid_share: for validation, where no file is for it.
        test_share: for testing, where no file is for it.

    Raises:
        UserError: no Parquet file, no such column, an unknown preset.
    """
    known = _preset(preset)
    names = {"audio": audio or known.audio, "text": text or known.text, "speaker": speaker or known.speaker}
    taken = channel if channel >= 0 else known.channel
    files = [
        path for path in find_files(root, [".parquet"], LAYOUT) if _wanted(path.relative_to(root).as_posix(), subsets)
    ]
    if not files:
        raise UserError(f"{root}: no file's path contains {', '.join(subsets or [])}; expected {LAYOUT}")
    rows = [row for path in files for row in _rows(root, path, names, None if taken < 0 else taken, known.voice)]
    present = {split for *_, split in rows}
    shares = (0.0 if "valid" in present else valid_share, 0.0 if "test" in present else test_share)
    drawn = seeded_splits({id_: who for id_, _, who, _, split in rows if split == "train"}, seed, *map(float, shares))
    tongue = language or known.language
    return Listing(root, [Entry(i, p, who, words, drawn.get(i, split), tongue) for i, p, who, words, split in rows])


def split_of(path: str) -> str:
    """Return the split that a file's path names, the innermost word first; train where it names none."""
    for part in reversed(Path(path.lower()).parts):
        if match := SPLIT_WORD.search(part):
            return SPLIT_OF[match[1]]
    return "train"


def _rows(
    root: Path, path: Path, names: dict[str, str], channel: int | None, voice: str
) -> Iterator[tuple[str, str, str, str | None, str]]:
    """Yield id, address, speaker, text and split of each row; recordings are not read."""
    relative = path.relative_to(root).as_posix()
    try:
        parquet = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})") from None
    present = parquet.schema_arrow.names
    audio = _column(path, names["audio"], AUDIO, present)
    if audio is None:
        raise UserError(f"{path}: no column of recordings; name one of {', '.join(present)} in option 'audio'")
    text, speaker = _column(path, names["text"], TEXT, present), _column(path, names["speaker"], SPEAKER, present)
    stem, split, number = relative.removesuffix(".parquet").replace("/", "--"), split_of(relative), 0
    for batch in parquet.iter_batches(4096, columns=[name for name in (text, speaker) if name]):
        texts = batch.column(text).to_pylist() if text else [None] * batch.num_rows
        voices = batch.column(speaker).to_pylist() if speaker else [voice] * batch.num_rows
        for words, who in zip(texts, voices, strict=True):
            transcript = None if words is None else str(words).strip() or None
            yield f"{stem}-{number:07d}", address(relative, audio, number, channel), str(who), transcript, split
            number += 1


def _column(path: Path, name: str, usual: tuple[str, ...], present: list[str]) -> str | None:
    if name and name not in present:
        raise UserError(f"{path}: column '{name}' is missing; found {', '.join(present)}")
    return name or next((one for one in usual if one in present), None)


def _preset(name: str) -> Preset:
    if name not in PRESETS:
        raise UserError(
            f"corpus adapter 'hf_parquet': option 'preset' must be {', '.join(filter(None, PRESETS))} or ''"
        )
    return PRESETS[name]


def _wanted(path: str, subsets: list[str] | None) -> bool:
    return path.endswith(".parquet") and (subsets is None or any(subset in path for subset in subsets))


def _listed(hub: str, repository: str, revision: str) -> Iterator[dict[str, Any]]:
    """Yield the hub's list of files, page by page; only those that it gives a sha256 for."""
    url: str | None = f"{hub}/api/datasets/{repository}/tree/{revision}?recursive=true"
    while url:
        request = urllib.request.Request(url, headers={"User-Agent": "respeak"})  # noqa: S310 - an address of the hub's
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as response:  # noqa: S310
                page, following = json.load(response), response.headers.get("Link", "")
        except urllib.error.HTTPError as error:
            raise UserError(
                f"{url}: the server answered {error.code} {error.reason}; is the data set public?"
            ) from None
        except (OSError, ValueError) as error:
            raise UserError(f"{url}: cannot be read ({error}); go online, or copy the data set to the folder") from None
        yield from (one for one in page if one.get("type") == "file" and "oid" in (one.get("lfs") or {}))
        match = re.search(r'<([^>]+)>;\s*rel="next"', following)
        url = match[1] if match else None
