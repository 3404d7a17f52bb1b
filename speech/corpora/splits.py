"""Splits as the papers make them: by counts over a whole corpus, or from published lists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from pathlib import Path

from speech.corpora.listing import shuffle_key
from speech.errors import UserError

LISTS = {
    "train": ("train.txt", "train.csv"),
    "valid": ("valid.txt", "val.txt", "dev.txt", "valid.csv", "validation_list.txt"),
    "test": ("test.txt", "test.csv", "testing_list.txt"),
}
MICROPHONE = re.compile(r"_mic\d$")


def split_utterances(
    ids: Iterable[str], seed: int, valid_share: float, test_share: float, lists: str
) -> dict[str, str]:
    """Return the split of each utterance: from the lists in folder ``lists`` if that is given, else drawn by counts.

    Utterances that no list names are missing from the result, where there is a list for training.
    """
    return listed_splits(ids, Path(lists)) if lists else counted_splits(ids, seed, valid_share, test_share)


def counted_splits(ids: Iterable[str], seed: int, valid_share: float, test_share: float) -> dict[str, str]:
    """Shuffle all N utterances: the first ``int(N t)`` are test, up to ``int(N t + N v)`` valid, the rest train.

    The rule of the resynthesis paper's scripts (LJSpeech: v = 0.1, t = 0.05; VCTK: 0.05 and 0.05), which pays no
    attention to speakers; the order is ours, by the hash of seed and id.

    Raises:
        UserError: shares outside 0..1 or leaving nothing to train on.
    """
    if min(valid_share, test_share) < 0 or valid_share + test_share >= 1:
        raise UserError(f"valid_share {valid_share} and test_share {test_share}: must be >= 0 and sum to less than 1")
    order = sorted(ids, key=lambda id_: (shuffle_key(seed, id_), id_))
    num_test = int(len(order) * test_share)
    num_held = int(len(order) * test_share + len(order) * valid_share)
    return {
        id_: "test" if index < num_test else "valid" if index < num_held else "train" for index, id_ in enumerate(order)
    }


def listed_splits(ids: Iterable[str], folder: Path) -> dict[str, str]:
    """Read splits from published lists, matched by file name without folder, suffix and VCTK's ``_mic2``.

    Read are ``train``, ``valid`` (``val``, ``dev``) and ``test`` ``.txt`` or ``.csv``: a path or id first on each
    line, or a Python literal with the key ``audio`` as in the resynthesis paper's manifests. Without a list for
    training, what is in no list is train.

    Raises:
        UserError: no list, an unreadable line, or not one utterance of the corpus in them.
    """
    files = {split: next((folder / n for n in names if (folder / n).is_file()), None) for split, names in LISTS.items()}
    if files["valid"] is None and files["test"] is None:
        raise UserError(
            f"{folder}: no lists of a split found; expected {', '.join(names[0] for names in LISTS.values())}"
        )
    named = {name: split for split, path in files.items() if path is not None for name in _names(path)}
    ids = list(ids)
    splits = {id_: named[id_] for id_ in ids if id_ in named}
    if not splits:
        raise UserError(f"{folder}: the lists name no utterance of the corpus; they are lists of another one")
    return splits if files["train"] else {**dict.fromkeys(ids, "train"), **splits}


def utterance_name(path: str) -> str:
    """Return the utterance that a path is of: its file name without suffix and microphone."""
    return MICROPHONE.sub("", Path(path.strip()).stem)


def _names(path: Path) -> list[str]:
    names = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        entry = line.strip()
        if entry.startswith("{"):
            try:
                entry = ast.literal_eval(entry)["audio"]
            except (ValueError, SyntaxError, KeyError, TypeError, MemoryError, RecursionError):
                raise UserError(f"{path}: line {number} is no dictionary with the key 'audio'") from None
        names.append(utterance_name(re.split(r"[|,\t]", str(entry))[0]))
    return names
