"""LJSpeech 1.1: passages of seven non-fiction books, read by one woman, 22.05 kHz.

13,100 clips of 1 to 10 s, 24 hours. Layout ``metadata.csv`` (``id|text|normalised text``) and ``wavs/<id>.wav``.
Public domain, K. Ito and L. Johnson (2017). https://keithito.com/LJ-Speech-Dataset

The default split is that of the resynthesis paper (Polyak et al. 2021): 10 % validation and 5 % test at random, 1310
and 655 clips; ``lists`` takes the published lists instead, theirs or soft-vc's.
"""

from __future__ import annotations

from pathlib import Path

from speech.corpora.install import Archive, install
from speech.corpora.listing import Entry, Listing, find_files
from speech.corpora.splits import split_utterances
from speech.errors import UserError

LAYOUT = "metadata.csv and wavs/LJ001-0001.wav ... (the LJSpeech-1.1 folder)"
COUNTS = {"": 13100}
ARCHIVES = [
    Archive(
        "https://data.keithito.com/data/speech/LJSpeech-1.1.tar.bz2",
        "be1a30453f28eb8dd26af4101ae40cbf2c50413b1bb21936cbcdc6fae3de8aa5",
        2_748_572_632,
        "LJSpeech-1.1",
    )
]
SPEAKER = "lj"


def download(root: Path, mirror: str) -> None:
    """Fetch the corpus into ``root``."""
    install(ARCHIVES, root, mirror)


def prepare(
    root: Path, out: Path, seed: int, *, valid_share: float = 0.1, test_share: float = 0.05, lists: str = ""
) -> Listing:
    """List the clips with their normalised text; ``lists`` is a folder of split lists.

    Raises:
        UserError: no recordings or no ``metadata.csv`` at ``root``.
    """
    texts = _read_texts(root)
    files = {path.stem: path for path in find_files(root / "wavs", [".wav", ".flac"], LAYOUT)}
    splits = split_utterances(files, seed, valid_share, test_share, lists)
    rejects = [(f"wavs/{id_}.wav", "is in metadata.csv but not there") for id_ in texts if id_ not in files]
    rejects += [(p.relative_to(root).as_posix(), "is in no list") for id_, p in files.items() if id_ not in splits]
    entries = [
        Entry(id_, path.relative_to(root).as_posix(), SPEAKER, texts.get(id_), splits[id_])
        for id_, path in files.items()
        if id_ in splits
    ]
    return Listing(root, entries, rejects)


def _read_texts(root: Path) -> dict[str, str]:
    path = root / "metadata.csv"
    if not path.is_file():
        raise UserError(f"{root}: metadata.csv not found; expected {LAYOUT}")
    texts = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        # Quotes in it are quotes of the text, so this is no CSV.
        fields = line.split("|")
        if len(fields) < 2:
            raise UserError(f"{path}: line {number} is not 'id|text|normalised text'")
        texts[fields[0]] = fields[-1].strip() or fields[1].strip()
    return texts
