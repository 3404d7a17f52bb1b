"""Free Spoken Digit Dataset: the digits 0-9 in English, read by six men of five accents.

3,000 recordings, about 22 minutes, 8 kHz mono WAV, as short as 0.15 s; fifty of each digit by each speaker. The
corpus's own split: recordings 0-4 are test. Here 5-6 are validation and the rest is training.
Licence CC BY-SA 4.0, Z. Jackson et al. https://github.com/Jakobovski/free-spoken-digit-dataset
"""

from __future__ import annotations

import re
from pathlib import Path

from speech.corpora.listing import DIGITS, Entry, Listing, find_files
from speech.errors import UserError

LAYOUT = "recordings/{digit}_{speaker}_{n}.wav (the free-spoken-digit-dataset folder)"
NAME = re.compile(r"(\d)_([^_]+)_(\d+)$")
TEST_BELOW, VALID_BELOW = 5, 7


def prepare(root: Path, out: Path, seed: int, *, speakers: list[str] | None = None) -> Listing:
    """List the digits; ``speakers`` keeps only these.

    Raises:
        UserError: no recordings at ``root``, or a speaker who is not in the corpus.
    """
    entries, rejects = [], []
    for path in find_files(root / "recordings", [".wav"], LAYOUT):
        relative = path.relative_to(root).as_posix()
        match = NAME.match(path.stem)
        if match is None:
            rejects.append((relative, "file name is not {digit}_{speaker}_{n}.wav"))
            continue
        digit, speaker, take = int(match[1]), match[2], int(match[3])
        split = "test" if take < TEST_BELOW else "valid" if take < VALID_BELOW else "train"
        entries.append(Entry(path.stem, relative, speaker, DIGITS[digit], split))
    found = sorted({entry.speaker for entry in entries})
    for speaker in speakers or []:
        if speaker not in found:
            raise UserError(f"{root}: no speaker '{speaker}'; speakers are {', '.join(found)}")
    return Listing(root, [e for e in entries if speakers is None or e.speaker in speakers], rejects)
