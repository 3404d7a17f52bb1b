"""Corpora by name: each adapter is a small module, listed here and nowhere else."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from speech.corpora import (
    databaker,
    demo,
    folder,
    fsdd,
    hf_parquet,
    librispeech,
    libritts,
    ljspeech,
    speech_commands,
    vctk,
)
from speech.corpora.install import check_complete
from speech.corpora.listing import Corpus, Entry, Listing, Phone
from speech.errors import UserError

CORPORA: dict[str, Corpus] = {
    "demo": demo,
    "fsdd": fsdd,
    "librispeech": librispeech,
    "folder": folder,
    "ljspeech": ljspeech,
    "vctk": vctk,
    "libritts": libritts,
    "speech_commands": speech_commands,
    "databaker": databaker,
    "hf_parquet": hf_parquet,
}

__all__ = ["CORPORA", "Corpus", "Entry", "Listing", "Phone", "download", "how_to_get", "options_of", "prepare"]


def prepare(adapter: str, root: Path, out: Path, seed: int, options: Mapping[str, Any]) -> Listing:
    """Read (or make) a corpus.

    Args:
        adapter: a name in ``CORPORA``.
        root: the corpus's folder as distributed.
        out: where an adapter that makes recordings writes them.
        seed: seeds splits and whatever else is drawn.
        options: the adapter's own options.

    Raises:
        UserError: unknown adapter or option, an option of the wrong type, a missing, half unpacked or empty corpus.
    """
    function = _adapter(adapter).prepare
    taken = _check_options(adapter, function, options)
    check_complete(root)
    return function(root, out, seed, **taken)


def download(adapter: str, root: Path, options: Mapping[str, Any], mirror: str = "") -> None:
    """Fetch a public corpus into ``root``; what is already there completely is not fetched again.

    Args:
        adapter: a name in ``CORPORA``.
        root: the corpus's folder, made if missing.
        options: the adapter's own, those of ``prepare`` among them.
        mirror: a server that has the same files, instead of the corpus's own.

    Raises:
        UserError: unknown adapter or option, a corpus that cannot be fetched, or a download that fails.
    """
    function = _downloader(adapter)
    if function is None:
        raise UserError(f"corpus adapter '{adapter}' fetches nothing; {_by_hand(adapter)}")
    function(root, mirror, **_check_options(adapter, function, options))


def how_to_get(adapter: str, root: Path, options: Mapping[str, Any]) -> str:
    """Return the end of a message on a missing corpus: the command that fetches it, or what to do by hand."""
    function = _downloader(adapter)
    if function is None:
        return f", or {_by_hand(adapter)}" if hasattr(CORPORA[adapter], "BY_HAND") else ""
    taken = _check_options(adapter, function, options)
    words = [f" --option {name}={','.join(v) if isinstance(v, list) else v}" for name, v in taken.items() if v]
    return f", or fetch it: respeak corpus download {adapter} {root}{''.join(words)}"


def options_of(adapter: str) -> dict[str, Any]:
    """Return the options of an adapter, to read and to fetch, with their defaults.

    Raises:
        UserError: unknown adapter.
    """
    functions = [_adapter(adapter).prepare, _downloader(adapter)]
    return {name: default for function in functions if function for name, default in _keywords(function).items()}


def _adapter(adapter: str) -> Corpus:
    if adapter not in CORPORA:
        raise UserError(f"corpus adapter '{adapter}' is unknown; known are {', '.join(CORPORA)}")
    return CORPORA[adapter]


def _downloader(adapter: str) -> Callable[..., None] | None:
    return getattr(_adapter(adapter), "download", None)


def _by_hand(adapter: str) -> str:
    return str(getattr(CORPORA[adapter], "BY_HAND", "see the adapter's documentation for where it comes from"))


def _keywords(function: Callable[..., Any]) -> dict[str, Any]:
    return {p.name: p.default for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY}


def _check_options(adapter: str, function: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Check all options, and return those that ``function`` takes."""
    known = options_of(adapter)
    for name, value in options.items():
        if name not in known:
            raise UserError(f"corpus adapter '{adapter}': unknown option '{name}'; known are {', '.join(known)}")
        _check_type(adapter, name, value, known[name])
    return {name: value for name, value in options.items() if name in _keywords(function)}


def _check_type(adapter: str, name: str, value: Any, default: Any) -> None:
    """Refuse an option that has not the type of its default; a default of None stands for a list of names."""
    if default is None:
        right = value is None or (isinstance(value, list) and all(isinstance(item, str) for item in value))
        expected = "a list of names"
    elif isinstance(default, float):
        right, expected = type(value) in (int, float), "a number"
    else:
        right, expected = type(value) is type(default), "a word" if isinstance(default, str) else "a whole number"
    if not right:
        raise UserError(f"corpus adapter '{adapter}': option '{name}' must be {expected}, not {value!r}")
