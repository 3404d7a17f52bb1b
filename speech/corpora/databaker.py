"""DataBaker (BZNSYP), the Chinese standard Mandarin speech corpus: sentences read by one woman, 48 kHz.

10,000 sentences, 12 hours. Layout ``Wave/000001.wav ...``, ``ProsodyLabeling/000001-010000.txt`` (a line of number and
characters with prosodic marks ``#1`` to ``#4``, then a line of pinyin with tones) and ``PhoneLabeling/*.interval``.
For research only, not for commerce; Beijing DataBaker Technology (2017). https://www.data-baker.com/open_source.html

The corpus that the pitch-and-dynamics fork of soft-vc is taught with (90 % of it for training, the rest held out);
held out here are 5 % each for validation and test.
"""

from __future__ import annotations

import re
from pathlib import Path

from speech.corpora.listing import Entry, Listing, find_files
from speech.corpora.splits import split_utterances
from speech.errors import UserError

LAYOUT = "Wave/000001.wav ... and ProsodyLabeling/000001-010000.txt (the BZNSYP folder)"
BY_HAND = "accept its licence and get BZNSYP.rar at https://www.data-baker.com/open_source.html, then unpack it"
COUNTS = {"": 10000}
SPEAKER = "databaker"
MARKS = re.compile(r"#\d")
SENTENCE = re.compile(r"(\d+)\s+(\S.*)")


def prepare(
    root: Path, out: Path, seed: int, *, valid_share: float = 0.05, test_share: float = 0.05, lists: str = ""
) -> Listing:
    """List the sentences with their characters (punctuation kept, prosodic marks taken out); language ``zh``.

    Raises:
        UserError: no recordings or no ``ProsodyLabeling`` at ``root``.
    """
    texts = _read_texts(root)
    files = {path.stem: path for path in find_files(root / "Wave", [".wav", ".flac"], LAYOUT)}
    splits = split_utterances(files, seed, valid_share, test_share, lists)
    rejects = [(f"Wave/{id_}.wav", "is in ProsodyLabeling but not there") for id_ in texts if id_ not in files]
    rejects += [(p.relative_to(root).as_posix(), "is in no list") for id_, p in files.items() if id_ not in splits]
    entries = [
        Entry(id_, path.relative_to(root).as_posix(), SPEAKER, texts.get(id_), splits[id_], "zh")
        for id_, path in files.items()
        if id_ in splits
    ]
    return Listing(root, entries, rejects)


def _read_texts(root: Path) -> dict[str, str]:
    labels = sorted((root / "ProsodyLabeling").glob("*.txt"))
    if not labels:
        raise UserError(f"{root}: no ProsodyLabeling/*.txt found; expected {LAYOUT}")
    texts = {}
    for path in labels:
        for line in path.read_text(encoding="utf-8-sig").splitlines():
            # Lines of pinyin begin with a tab.
            if match := SENTENCE.match(line):
                texts[match[1]] = MARKS.sub("", match[2]).strip()
    return texts
