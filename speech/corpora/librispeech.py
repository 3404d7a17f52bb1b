"""LibriSpeech: read English audiobooks of 2,484 speakers, 16 kHz FLAC, in subsets.

982 hours: train-clean-100 (101 h), train-clean-360 (364 h), train-other-500 (497 h), and dev and test sets of about
5 h, clean and other. Layout ``subset/speaker/chapter/speaker-chapter-number.flac`` with one
``speaker-chapter.trans.txt`` per chapter; where that is missing, utterances have no text.
Licence CC BY 4.0, V. Panayotov et al. (2015). https://www.openslr.org/12
"""

from __future__ import annotations

from pathlib import Path

from speech.corpora.install import Archive, chosen, install
from speech.corpora.listing import Listing
from speech.corpora.subsets import list_subsets

LAYOUT = "<subset>/<speaker>/<chapter>/*.flac with subsets such as train-clean-100 (the LibriSpeech folder)"
COUNTS = {
    "dev-clean/": 2703,
    "dev-other/": 2864,
    "test-clean/": 2620,
    "test-other/": 2939,
    "train-clean-100/": 28539,
    "train-clean-360/": 104014,
    "train-other-500/": 148688,
}
_ARCHIVES = {
    "dev-clean": ("76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3", 337_926_286),
    "dev-other": ("12661c48e8c3fe1de2c1caa4c3e135193bfb1811584f11f569dd12645aa84365", 314_305_928),
    "test-clean": ("39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23", 346_663_984),
    "test-other": ("d09c181bba5cf717b3dee7d4d592af11a3ee3a09e08ae025c5506f6ebe961c29", 328_757_843),
    "train-clean-100": ("d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2", 6_387_309_499),
    "train-clean-360": ("146a56496217e96c14334a160df97fffedd6e0a04e66b9c5af0d40be3c792ecf", 23_049_477_885),
    "train-other-500": ("ddb22f27f96ec163645d53215559df6aa36515f26e01dd70798188350adcb6d2", 30_593_501_606),
}
ARCHIVES = {
    name: Archive(f"https://www.openslr.org/resources/12/{name}.tar.gz", sha256, size, "LibriSpeech")
    for name, (sha256, size) in _ARCHIVES.items()
}


def download(root: Path, mirror: str, *, subsets: list[str] | None = None) -> None:
    """Fetch the subsets (all seven by default, 61 GB) into ``root``."""
    install(chosen(ARCHIVES, subsets or list(ARCHIVES), "subset"), root, mirror)


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
    utterances takes its place; of speakers with one utterance each, as in a sample of the corpus, that share of them.

    Raises:
        UserError: no subset, or a missing or empty one.
    """
    return list_subsets(root, subsets, ".flac", LAYOUT, _read_texts, seed, (valid_share, test_share))


def _read_texts(files: list[Path]) -> dict[str, str]:
    texts = {}
    for chapter in sorted({path.parent for path in files}):
        for transcript in sorted(chapter.glob("*.trans.txt")):
            for line in transcript.read_text(encoding="utf-8").splitlines():
                id_, _, words = line.partition(" ")
                texts[id_] = words.strip().lower()
    return texts
