"""Answers of judges, kept by content: what was judged once, by the same judge, is not judged again.

An answer lies under the hash of what the judge heard, its settings and versions, and the code of the judges: a change
of any makes another name, so nothing old is ever taken for new. Files appear whole; a damaged one counts as absent; the
ones that were not asked for longest go when there are too many. The folder belongs to no stage and to no cache of DVC:
deleting it costs time, nothing else.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from speech.audio.waveforms import decode_audio
from speech.errors import AudioError, UserError

# An answer takes up to 6 kB (a speaker's vector), and a block of the disk: 400 MB at most.
MAX_ENTRIES = 100_000
# Beside the settings, whatever else decides an answer.
_CODE = ("speech/*.py", "speech/judges/*.py", "speech/metrics/*.py", "respeak/judges/*.py", "models/judges/*.py")
_PROJECT = Path(__file__).resolve().parents[2]

Answer = dict[str, Any]


class Heard(Protocol):
    """Audio that a judge may have to hear."""

    @property
    def digest(self) -> str:
        """A hash that tells the audio from every other without decoding it."""

    @property
    def wave(self) -> np.ndarray:
        """The audio, ``(T,)`` float32 in [-1, 1] at 16 kHz."""


@dataclass(frozen=True)
class Recording:
    """Encoded audio that is decoded only when a judge must hear it.

    Args:
        audio: WAV or FLAC bytes, 16 kHz mono.
        where: file and utterance, for messages.
        num_samples: leading samples that are speech; what follows is padding. All of them when None.
    """

    audio: bytes
    where: str
    num_samples: int | None = None

    @functools.cached_property
    def digest(self) -> str:
        """Hash of the bytes and of how many samples count."""
        return _hash(self.audio, str(self.num_samples).encode())

    @functools.cached_property
    def wave(self) -> np.ndarray:
        """The decoded audio, ``(T,)`` float32 in [-1, 1] at 16 kHz.

        Raises:
            UserError: the bytes are damaged.
        """
        try:
            return decode_audio(self.audio)[: self.num_samples]
        except AudioError as error:
            raise UserError(f"{self.where}: {error}") from None


@dataclass(frozen=True)
class Joined:
    """Recordings one after another."""

    recordings: tuple[Recording, ...]

    @property
    def digest(self) -> str:
        """Hash of the parts' hashes, in order."""
        return _hash(*(part.digest.encode() for part in self.recordings))

    @property
    def wave(self) -> np.ndarray:
        """The parts' samples without gaps, ``(T,)`` float32 in [-1, 1] at 16 kHz."""
        return np.concatenate([part.wave for part in self.recordings])


@dataclass(frozen=True)
class Judge:
    """A judge by its settings, loaded when there is something that it has not answered before.

    Attributes:
        settings: plain data that, with what is heard, decides the answer: name, mode, hashes of weights and texts.
        load: gives the judge itself, a function of what it hears; called once in a process.
        packages: distributions whose versions decide the answer too.
    """

    settings: Mapping[str, Any]
    load: Callable[[], Callable[..., Answer]]
    packages: tuple[str, ...] = ()

    @functools.cached_property
    def identity(self) -> str:
        """Settings, versions and code as one hash."""
        versions = {name: package_version(name) for name in self.packages}
        return _hash(json.dumps([self.settings, versions, _code()], sort_keys=True).encode())

    def __call__(self, *heard: Any) -> Answer:
        """Judge, without looking whether it was done before."""
        if self.identity not in _loaded:
            _loaded[self.identity] = self.load()
        return _loaded[self.identity](*heard)


_loaded: dict[str, Callable[..., Answer]] = {}


class Answers:
    """The kept answers.

    Args:
        folder: where they lie; None keeps nothing.

    Attributes:
        found: how many were found; ``judged``: how many were made anew.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.found = self.judged = 0

    def ask(self, judge: Judge, *heard: Heard | np.ndarray | str) -> Answer:
        """Return the judge's answer to what it hears, from the folder where it is there."""
        path = self._path(judge, heard)
        if path is not None and (kept := _read(path)) is not None:
            self.found += 1
            return kept
        answer = judge(*heard)
        self.judged += 1
        if path is not None:
            _write(path, answer)
        return answer

    def prune(self, limit: int = MAX_ENTRIES) -> None:
        """Delete the answers that were not asked for longest, until a tenth less than ``limit`` are left."""
        if self.folder is None:
            return
        entries = []
        for path in self.folder.glob("*/*"):
            try:
                entries.append((path.stat().st_mtime, path))
            except FileNotFoundError:
                continue  # another stage prunes too
        if len(entries) > limit:
            for _, path in sorted(entries)[: len(entries) - limit * 9 // 10]:
                path.unlink(missing_ok=True)

    def _path(self, judge: Judge, heard: tuple[Heard | np.ndarray | str, ...]) -> Path | None:
        if self.folder is None:
            return None
        name = _hash(judge.identity.encode(), *(_digest(item).encode() for item in heard))
        return self.folder / name[:2] / f"{name[2:]}.json"


def digest_texts(texts: Sequence[str]) -> str:
    """Hash texts, in order."""
    return _hash(*(text.encode() for text in texts))


def package_version(name: str) -> str:
    """Return the version of an installed distribution; empty where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _digest(item: Heard | np.ndarray | str) -> str:
    if isinstance(item, str):
        return _hash(b"text", item.encode())
    if isinstance(item, np.ndarray):
        return _hash(f"{item.dtype.str}{item.shape}".encode(), np.ascontiguousarray(item).tobytes())
    return item.digest


def _hash(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        # Lengths keep ("ab", "c") and ("a", "bc") apart.
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()[:40]


@functools.cache
def _code() -> str:
    files = sorted(path for pattern in _CODE for path in _PROJECT.glob(pattern))
    return _hash(*(part for path in files for part in (path.name.encode(), path.read_bytes())))


def _read(path: Path) -> Answer | None:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))["answer"]
        os.utime(path)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return kept if isinstance(kept, dict) else None


def _write(path: Path, answer: Answer) -> None:
    """Write whole or not at all, but not forced to the disk: what a power cut leaves half-written is judged again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp")
    try:
        temporary.write_text(json.dumps({"answer": answer}), encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
