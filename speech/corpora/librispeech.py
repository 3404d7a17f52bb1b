"""LibriSpeech: read English audiobooks of 2,484 speakers, 16 kHz FLAC, in subsets.

982 hours: train-clean-100 (101 h), train-clean-360 (364 h), train-other-500 (497 h), and dev and test sets of about
5 h, clean and other. Layout ``subset/speaker/chapter/speaker-chapter-number.flac`` with one
``speaker-chapter.trans.txt`` per chapter; where that is missing, utterances have no text.
Licence CC BY 4.0, V. Panayotov et al. (2015). https://www.openslr.org/12
"""

from __future__ import annotations

from pathlib import Path

from speech.corpora.corpus import Entry, Listing, find_files, seeded_splits
from speech.errors import UserError

LAYOUT = "<subset>/<speaker>/<chapter>/*.flac with subsets such as train-clean-100 (the LibriSpeech folder)"
SPLIT_OF = {"train": "train", "dev": "valid", "test": "test"}


def prepare(
    root: Path,
    out: Path,
    seed: int,
    *,
    subsets: list[str] | None = None,
    valid_share: float = 0.05,
    test_share: float = 0.05,
) -> Listing:
    """List the utterances of the subsets (all that are there by default), text in lower case.

    dev-* is validation and test-* is test. Without a dev (test) subset, that share of every training speaker's
    utterances takes its place; a speaker's only utterance stays in train.

    Raises:
        UserError: no subset, or a missing or empty one.
    """
    names = subsets if subsets is not None else _present(root)
    if not names:
        raise UserError(f"{root}: no LibriSpeech subset found; expected {LAYOUT}")
    kinds = {name.split("-")[0] for name in names}
    if unknown := sorted(name for name in names if name.split("-")[0] not in SPLIT_OF):
        raise UserError(f"{root}: subset '{unknown[0]}' is none of train-*, dev-*, test-*")
    files = [path for name in names for path in find_files(root / name, [".flac"], LAYOUT)]
    training = {p.stem: p.parts[-3] for p in files if _subset(root, p).startswith("train")}
    shares = (0.0 if "dev" in kinds else float(valid_share), 0.0 if "test" in kinds else float(test_share))
    splits = seeded_splits(training, seed, *shares)
    texts = _read_texts({path.parent for path in files})
    return Listing(root, [_entry(root, path, splits, texts) for path in files])


def _entry(root: Path, path: Path, splits: dict[str, str], texts: dict[str, str]) -> Entry:
    split = splits.get(path.stem) or SPLIT_OF[_subset(root, path).split("-")[0]]
    return Entry(path.stem, path.relative_to(root).as_posix(), path.stem.split("-")[0], texts.get(path.stem), split)


def _present(root: Path) -> list[str]:
    if not root.is_dir():
        raise UserError(f"{root}: corpus folder not found; expected {LAYOUT}")
    return sorted(path.name for path in root.iterdir() if path.is_dir() and path.name.split("-")[0] in SPLIT_OF)


def _subset(root: Path, path: Path) -> str:
    return path.relative_to(root).parts[0]


def _read_texts(chapters: set[Path]) -> dict[str, str]:
    texts = {}
    for chapter in sorted(chapters):
        for transcript in sorted(chapter.glob("*.trans.txt")):
            for line in transcript.read_text(encoding="utf-8").splitlines():
                id_, _, words = line.partition(" ")
                texts[id_] = words.strip().lower()
    return texts
