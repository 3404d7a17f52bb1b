"""LibriTTS: LibriSpeech's audiobooks cut anew at sentences, 24 kHz WAV, 2,456 speakers, in subsets.

586 hours: train-clean-100 (54 h, 247 speakers), train-clean-360 (191 h, 904), train-other-500 (310 h, 1,160), and dev
and test sets of 6 to 9 h, clean and other. Layout ``subset/speaker/chapter/speaker_chapter_paragraph_sentence.wav``
with ``.normalized.txt`` and ``.original.txt`` beside it.
Licence CC BY 4.0, H. Zen et al. (2019). https://www.openslr.org/60

StreamVC's reproduction trains on train-clean-100, validates on dev-clean and converts test-clean.
"""

from __future__ import annotations

from pathlib import Path

from speech.corpora.install import Archive, chosen, install
from speech.corpora.listing import Listing
from speech.corpora.subsets import list_subsets

LAYOUT = "<subset>/<speaker>/<chapter>/*.wav with subsets such as train-clean-100 (the LibriTTS folder)"
COUNTS = {
    "dev-clean/": 5736,
    "dev-other/": 4613,
    "test-clean/": 4837,
    "test-other/": 5120,
    "train-clean-100/": 33236,
    "train-clean-360/": 116500,
    "train-other-500/": 205044,
}
# sha256 and about how many bytes.
_ARCHIVES = {
    "dev-clean": ("da0864e1bd26debed35da8a869dd5c04dfc27682921936de7cff9c8a254dbe1a", 1_200_000_000),
    "dev-other": ("d413eda26f3a152ac7c9cf3658ef85504dfb1b625296e5fa83727f5186cca79c", 900_000_000),
    "test-clean": ("234ea5b25859102a87024a4b9b86641f5b5aaaf1197335c95090cde04fe9a4f5", 1_200_000_000),
    "test-other": ("33a5342094f3bba7ccc2e0500b9e72d558f72eb99328ac8debe1d9080402f10d", 1_000_000_000),
    "train-clean-100": ("c5608bf1ef74bb621935382b8399c5cdd51cd3ee47cec51f00f885a64c6c7f6b", 7_700_000_000),
    "train-clean-360": ("ce7cff44dcac46009d18379f37ef36551123a1dc4e5c8e4eb73ae57260de4886", 27_000_000_000),
    "train-other-500": ("e35f7e34deeb2e2bdfe4403d88c8fdd5fbf64865cae41f027a185a6965f0a5df", 44_000_000_000),
}
ARCHIVES = {
    name: Archive(f"https://www.openslr.org/resources/60/{name}.tar.gz", sha256, size, "LibriTTS")
    for name, (sha256, size) in _ARCHIVES.items()
}


def download(root: Path, mirror: str, *, subsets: list[str] | None = None) -> None:
    """Fetch the subsets (all seven by default, 83 GB) into ``root``."""
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
    """List the utterances of the subsets (all that are there by default) with their normalised text.

    dev-* is validation and test-* is test. Without a dev (test) subset, that share of every training speaker's
    utterances takes its place.

    Raises:
        UserError: no subset, or a missing or empty one.
    """
    return list_subsets(root, subsets, ".wav", LAYOUT, _read_texts, seed, (valid_share, test_share))


def _read_texts(files: list[Path]) -> dict[str, str]:
    texts = {}
    for path in files:
        transcript = path.with_suffix(".normalized.txt")
        if transcript.is_file():
            texts[path.stem] = transcript.read_text(encoding="utf-8").strip()
    return texts
