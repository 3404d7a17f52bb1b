"""The size of a corpus before it is read: from its manifest, its files, or what is known of it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from stages.params.corpora import Corpus

# Hours, and recordings, as the corpora's own descriptions have them (speech/corpora states whose those are).
KNOWN: Mapping[str, Mapping[str, tuple[float, int]]] = {
    "vctk": {"": (44.0, 44_000)},
    "ljspeech": {"": (24.0, 13_100)},
    "databaker": {"": (12.0, 10_000)},
    "fsdd": {"": (0.36, 3_000)},
    "speech_commands": {"all": (29.0, 105_829), "sc09": (10.7, 38_908)},
    "librispeech": {
        "dev-clean": (5.4, 2703),
        "dev-other": (5.3, 2864),
        "test-clean": (5.4, 2620),
        "test-other": (5.1, 2939),
        "train-clean-100": (100.6, 28_539),
        "train-clean-360": (363.6, 104_014),
        "train-other-500": (496.7, 148_688),
    },
    "libritts": {
        "dev-clean": (9.0, 5736),
        "dev-other": (6.4, 4613),
        "test-clean": (8.6, 4837),
        "test-other": (6.7, 5120),
        "train-clean-100": (53.8, 33_236),
        "train-clean-360": (191.3, 116_500),
        "train-other-500": (310.1, 205_044),
    },
}
VOICES = {"all": 8, "target": 1}  # of the demo corpus
SENTENCE_SECONDS, DIGIT_SECONDS = 2.3, 0.5  # of which it has one for each prompt


@dataclass(frozen=True)
class Size:
    """Seconds of audio, recordings, and how that is known."""

    seconds: float
    utterances: int
    source: str


def size_of(root: Path, name: str, corpus: Corpus) -> Size | None:
    """Return how large a corpus is, None where nothing tells.

    Args:
        root: the project's folder.
        name: the corpus's in the parameters.
        corpus: its section of the parameters.
    """
    return _from_manifest(root, name, corpus) or _known(corpus) or _from_files(root, corpus)


def _from_manifest(root: Path, name: str, corpus: Corpus) -> Size | None:
    """Return the size of what is there already, if it was made with the same section of ``params.yaml``."""
    manifest, params = root / "data" / name / "corpus" / "manifest.parquet", root / "params.yaml"
    if not manifest.is_file() or not params.is_file():
        return None
    made = (yaml.safe_load(params.read_text()).get("corpora") or {}).get(name, {})
    if (made.get("adapter"), made.get("root"), made.get("options")) != (corpus.adapter, corpus.root, corpus.options):
        return None
    import pyarrow.parquet as pq

    table = pq.read_table(manifest, columns=["num_samples", "sample_rate"]).to_pylist()
    return Size(sum(row["num_samples"] / row["sample_rate"] for row in table), len(table), "its manifest")


def _known(corpus: Corpus) -> Size | None:
    options: Mapping[str, Any] = corpus.options
    if corpus.adapter == "demo":
        counts = options.get("sentences", 30), options.get("digits", 20)
        voices = VOICES.get(str(options.get("voices", "all")), 1)
        seconds = voices * (counts[0] * SENTENCE_SECONDS + counts[1] * DIGIT_SECONDS)
        return Size(seconds, voices * sum(counts), "its prompts")
    parts = KNOWN.get(corpus.adapter)
    if parts is None:
        return None
    wanted = options.get("subsets") or [options.get("words", "")]
    chosen = [parts[part] for part in wanted if part in parts] or list(parts.values())
    return Size(3600 * sum(hours for hours, _ in chosen), sum(count for _, count in chosen), "its description")


def _from_files(root: Path, corpus: Corpus) -> Size | None:
    """Return the size by reading every header; of a corpus that lies here and that nobody has described."""
    from speech.corpora import prepare
    from speech.errors import UserError
    from speech.storage.manifest import manifest_rows

    folder = root / corpus.root
    if not folder.exists():
        return None
    with tempfile.TemporaryDirectory() as scratch:
        try:
            rows, _ = manifest_rows(prepare(corpus.adapter, folder, Path(scratch), 0, corpus.options))
        except UserError:  # the stage will state what is wrong
            return None
    return Size(sum(row["num_samples"] / row["sample_rate"] for row in rows), len(rows), "its files")
