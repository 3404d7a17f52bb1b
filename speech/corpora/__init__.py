"""Corpora by name: each adapter is a small module, listed here and nowhere else."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speech.corpora import demo, folder, fsdd, librispeech
from speech.corpora.corpus import Corpus, Entry, Listing, Phone
from speech.errors import UserError

CORPORA: dict[str, Corpus] = {"demo": demo, "fsdd": fsdd, "librispeech": librispeech, "folder": folder}

__all__ = ["CORPORA", "Corpus", "Entry", "Listing", "Phone", "prepare"]


def prepare(adapter: str, root: Path, out: Path, seed: int, options: Mapping[str, Any]) -> Listing:
    """Read (or make) a corpus.

    Args:
        adapter: a name in ``CORPORA``.
        root: the corpus's folder as distributed.
        out: where an adapter that makes recordings writes them.
        seed: seeds splits and whatever else is drawn.
        options: the adapter's own options.

    Raises:
        UserError: unknown adapter or option, an option of the wrong type, a missing or empty corpus.
    """
    if adapter not in CORPORA:
        raise UserError(f"corpus adapter '{adapter}' is unknown; known are {', '.join(CORPORA)}")
    function = CORPORA[adapter].prepare
    known = {p.name: p.default for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY}
    for name, value in options.items():
        if name not in known:
            raise UserError(f"corpus adapter '{adapter}': unknown option '{name}'; known are {', '.join(known)}")
        _check_type(adapter, name, value, known[name])
    return function(root, out, seed, **options)


def _check_type(adapter: str, name: str, value: Any, default: Any) -> None:
    """An option has the type of its default; None stands for a list of names."""
    if default is None:
        right = value is None or (isinstance(value, list) and all(isinstance(item, str) for item in value))
        expected = "a list of names"
    elif isinstance(default, float):
        right, expected = type(value) in (int, float), "a number"
    else:
        right, expected = type(value) is type(default), "a word" if isinstance(default, str) else "a whole number"
    if not right:
        raise UserError(f"corpus adapter '{adapter}': option '{name}' must be {expected}, not {value!r}")
