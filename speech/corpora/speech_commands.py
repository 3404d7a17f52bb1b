"""Speech Commands: one-second recordings of single words from thousands of speakers, 16 kHz.

Version 0.02: 105,829 recordings of 35 words by 2,618 speakers, about 29 hours; 0.01: 64,727 of 30 words. Layout
``<word>/<speaker>_nohash_<n>.wav``, ``validation_list.txt`` and ``testing_list.txt``. SC09 is its ten digits (0.02:
about 31,000 to train on, 3,600 and 4,100 held out), on which ASGAN (Baas and Kamper 2022) is trained.
Licence CC BY 4.0, P. Warden (2018). https://arxiv.org/abs/1804.03209

The split is the corpus's own: its lists where they are, else the rule that they were made by, which keeps a speaker
in one split by the sha1 of the speaker's hash: 10 % validation, 10 % test.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from speech.corpora.install import Archive, chosen, install
from speech.corpora.listing import DIGITS, Entry, Listing, find_files
from speech.errors import UserError

LAYOUT = "<word>/<speaker>_nohash_<n>.wav (the speech_commands folder)"
URL = "http://download.tensorflow.org/data/speech_commands_v{}.tar.gz"
ARCHIVES = {
    "0.02": Archive(
        URL.format("0.02"), "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58", 2_428_923_189
    ),
    "0.01": Archive(
        URL.format("0.01"), "743935421bb51cccdb6bdd152e04c5c70274e935c82119ad7faeec31780d811d", 1_489_096_277
    ),
}
MARK = "_nohash_"
VALID_LIST, TEST_LIST = "validation_list.txt", "testing_list.txt"
VALID_PERCENT, TEST_PERCENT = 10.0, 10.0
MAX_PER_CLASS = 2**27 - 1


def download(root: Path, mirror: str, *, version: str = "0.02") -> None:
    """Fetch the corpus into ``root``."""
    install(chosen(ARCHIVES, [version], "version"), root, mirror)


def prepare(root: Path, out: Path, seed: int, *, words: str = "all") -> Listing:
    """List the recordings of all words (``all``) or of the ten digits (``sc09``); the word is the text.

    Raises:
        UserError: no recordings at ``root``, or other words asked for.
    """
    if words not in ("all", "sc09"):
        raise UserError(f"corpus adapter 'speech_commands': option 'words' must be all or sc09, not '{words}'")
    if not root.is_dir():
        raise UserError(f"{root}: corpus folder not found; expected {LAYOUT}")
    # Names with an underscore hold background noise, no words.
    folders = [path for path in sorted(root.iterdir()) if path.is_dir() and path.name[:1] not in "_."]
    folders = [path for path in folders if words == "all" or path.name in DIGITS]
    if not folders:
        raise UserError(f"{root}: no words found; expected {LAYOUT}")
    lists = _read_lists(root)
    entries, rejects = [], []
    for path in (path for folder in folders for path in find_files(folder, [".wav"], LAYOUT)):
        relative = path.relative_to(root).as_posix()
        speaker, mark, _ = path.stem.partition(MARK)
        if not mark:
            rejects.append((relative, f"file name is not <speaker>{MARK}<n>.wav"))
            continue
        split = lists.get(relative, "train") if lists else official_split(path.name)
        entries.append(Entry(f"{path.parent.name}-{path.stem}", relative, speaker, path.parent.name, split))
    return Listing(root, entries, rejects)


def official_split(name: str) -> str:
    """Return the split of a file name by the corpus's own rule: a percentage from the sha1 of the speaker's part."""
    speaker = name.partition(MARK)[0]
    number = int(hashlib.sha1(speaker.encode(), usedforsecurity=False).hexdigest(), 16)
    percent = (number % (MAX_PER_CLASS + 1)) * (100.0 / MAX_PER_CLASS)
    if percent < VALID_PERCENT:
        return "valid"
    return "test" if percent < VALID_PERCENT + TEST_PERCENT else "train"


def _read_lists(root: Path) -> dict[str, str]:
    """Read splits by relative path; empty where the corpus was copied without its lists."""
    lists = {"valid": root / VALID_LIST, "test": root / TEST_LIST}
    if not all(path.is_file() for path in lists.values()):
        return {}
    return {
        line.strip().removeprefix("./"): split
        for split, path in lists.items()
        for line in path.read_text(encoding="utf-8").splitlines()
    }
