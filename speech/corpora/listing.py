"""The result of every corpus adapter: a listing of utterances, each with its speaker, words and split."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from speech.errors import UserError

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SPLITS = ("train", "valid", "test")


class Phone(NamedTuple):
    """A phone (IPA, no stress marks) and its interval in seconds from the start of the recording."""

    phone: str
    start: float
    end: float


@dataclass(frozen=True)
class Entry:
    """One utterance: ``path`` is relative to the listing's base; ``text`` is None where nobody wrote it down."""

    id: str
    path: str
    speaker: str
    text: str | None
    split: str
    language: str = "en"
    phones: Sequence[Phone] | None = None


@dataclass(frozen=True)
class Listing:
    """A corpus read: the folder that paths are relative to, the utterances, and (path, reason) of unusable ones."""

    base: Path
    entries: Sequence[Entry]
    rejects: Sequence[tuple[str, str]] = field(default=())


class Corpus(Protocol):
    """A corpus adapter: any module with a ``prepare``.

    ``prepare(root, out, seed, *, <options with defaults>) -> Listing`` reads the corpus at ``root``; one that makes
    its own recordings writes them below ``out`` and gives ``out`` as the listing's base. The same arguments give the
    same listing. It raises ``UserError`` naming the folder and the expected layout when there is nothing to read.
    """

    @property
    def prepare(self) -> Callable[..., Listing]:
        """The function that reads or makes the corpus."""


def find_files(root: Path, suffixes: Iterable[str], layout: str) -> list[Path]:
    """Find the files with one of the suffixes anywhere below ``root``, sorted; hidden ones are left out.

    Raises:
        UserError: ``root`` is no folder or holds none; names ``layout``, what was expected.
    """
    wanted = {suffix.lower() for suffix in suffixes}
    if not root.is_dir():
        raise UserError(f"{root}: corpus folder not found; expected {layout}")
    found = [path for path in root.rglob("*") if path.suffix.lower() in wanted and not path.name.startswith(".")]
    if not found:
        raise UserError(f"{root}: no recordings found; expected {layout}")
    return sorted(found)


def seeded_splits(groups: Mapping[str, str], seed: int, valid_share: float, test_share: float) -> dict[str, str]:
    """Give each utterance a split, within its group (a speaker) and by the hash of seed and id.

    A share above 0 takes at least one utterance, but the last one of a group always stays in train. Where no group has
    two, they are divided as if they were one: who is held out is then nobody that is in train.

    Args:
        groups: utterance id to group.
        seed: another seed draws other splits.
        valid_share: fraction of each group for validation.
        test_share: fraction of each group for testing.

    Raises:
        UserError: shares outside 0..1 or leaving nothing to train on.
    """
    if min(valid_share, test_share) < 0 or valid_share + test_share >= 1:
        raise UserError(f"valid_share {valid_share} and test_share {test_share}: must be >= 0 and sum to less than 1")
    members: dict[str, list[str]] = defaultdict(list)
    for id_, group in groups.items():
        members[group].append(id_)
    if len(members) == len(groups):
        members = {"": list(groups)} if groups else {}
    splits = {}
    for ids in members.values():
        ids.sort(key=lambda id_: (shuffle_key(seed, id_), id_))
        num_test = min(len(ids) - 1, _at_least_one(test_share, len(ids)))
        num_valid = min(len(ids) - 1 - num_test, _at_least_one(valid_share, len(ids)))
        for index, id_ in enumerate(ids):
            splits[id_] = "test" if index < num_test else "valid" if index < num_test + num_valid else "train"
    return splits


def shuffle_key(seed: int, name: str) -> str:
    """Return a key to sort by: a shuffle that depends on nothing but the seed and the names."""
    return hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()


def _at_least_one(share: float, count: int) -> int:
    return max(1, round(share * count)) if share > 0 else 0
