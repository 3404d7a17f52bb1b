"""Common ground of LibriSpeech and LibriTTS: subsets that are splits, then speakers, then chapters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from speech.corpora.listing import Entry, Listing, find_files, seeded_splits
from speech.errors import UserError

SPLIT_OF = {"train": "train", "dev": "valid", "test": "test"}


def list_subsets(
    root: Path,
    subsets: list[str] | None,
    suffix: str,
    layout: str,
    read_texts: Callable[[list[Path]], dict[str, str]],
    seed: int,
    shares: tuple[float, float],
) -> Listing:
    """List ``subset/speaker/chapter/utterance<suffix>``; dev-* is validation, test-* is test.

    Args:
        root: the corpus's folder.
        subsets: which ones; None takes all that are there.
        suffix: of the recordings.
        layout: what is expected, for messages.
        read_texts: texts by utterance, of these recordings.
        seed: draws the shares.
        shares: of every training speaker's utterances, for validation and for testing, where there is no such subset.

    Raises:
        UserError: no subset, or a missing or empty one.
    """
    names = subsets if subsets is not None else _present(root, layout)
    if not names:
        raise UserError(f"{root}: no subset found; expected {layout}")
    kinds = {name.split("-")[0] for name in names}
    if unknown := sorted(name for name in names if name.split("-")[0] not in SPLIT_OF):
        raise UserError(f"{root}: subset '{unknown[0]}' is none of train-*, dev-*, test-*")
    files = [path for name in names for path in find_files(root / name, [suffix], layout)]
    training = {path.stem: path.parts[-3] for path in files if _subset(root, path).startswith("train")}
    valid_share, test_share = (
        0.0 if kind in kinds else float(share) for kind, share in zip(("dev", "test"), shares, strict=True)
    )
    splits = seeded_splits(training, seed, valid_share, test_share)
    texts = read_texts(files)
    entries = [
        Entry(
            path.stem,
            path.relative_to(root).as_posix(),
            path.parts[-3],
            texts.get(path.stem),
            splits.get(path.stem) or SPLIT_OF[_subset(root, path).split("-")[0]],
        )
        for path in files
    ]
    return Listing(root, entries)


def _present(root: Path, layout: str) -> list[str]:
    if not root.is_dir():
        raise UserError(f"{root}: corpus folder not found; expected {layout}")
    return sorted(path.name for path in root.iterdir() if path.is_dir() and path.name.split("-")[0] in SPLIT_OF)


def _subset(root: Path, path: Path) -> str:
    return path.relative_to(root).parts[0]
