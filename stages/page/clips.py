"""Which sentences can be heard, and what every system made of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from speech.audio import decode_audio
from speech.shards import read_rows, read_shard, shard_paths

# Long enough to judge a voice by, short enough to hear ten systems in a row, seconds.
WANTED_SECONDS = 4.0
SAMPLE_RATE = 16_000
HEARD = ("hypothesis", "word_errors", "words")


@dataclass(frozen=True)
class Clip:
    """What one system made of a sentence; ``heard``, ``errors`` of ``words`` are the recogniser's."""

    experiment: str
    voice: str
    audio: bytes
    heard: str | None
    errors: int | None
    words: int | None

    @property
    def wave(self) -> np.ndarray:
        """``(T,)`` float32 at 16 kHz."""
        return decode_audio(self.audio)

    @property
    def mime(self) -> str:
        """What a browser calls the format."""
        return "audio/flac" if self.audio.startswith(b"fLaC") else "audio/wav"


@dataclass
class Sentence:
    """One test utterance: who said what, its F0 in Hz every 5 ms, its units at 50 Hz, its clips."""

    id: str
    speaker: str
    text: str
    seconds: float
    clips: list[Clip] = field(default_factory=list)
    f0: np.ndarray | None = None
    units: np.ndarray | None = None

    @property
    def size(self) -> int:
        """Bytes of audio."""
        return sum(len(clip.audio) for clip in self.clips)


def read_sentences(
    experiments: Sequence[str], made: Path, evaluated: Path, corpus: Path, count: int, max_bytes: int
) -> list[Sentence]:
    """Up to ``count`` utterances that every experiment spoke, with at most ``max_bytes`` of audio among them.

    Of different speakers and texts as far as there are, the nearest to four seconds first. What would go over the
    limit is left out, and the next one tried.
    """
    candidates = choose(_spoken(experiments, made), 3 * count)
    wanted = {sentence.id: sentence for sentence in candidates}
    for experiment in experiments:
        heard = _heard(evaluated / experiment / "utterances.parquet", wanted)
        for row in _rows(made / experiment, "source_id", wanted):
            sentence = wanted[row["source_id"]]
            if all(clip.experiment != experiment for clip in sentence.clips):  # the first of a conversion's voices
                judged = [heard.get(row["id"], {}).get(name) for name in HEARD]
                sentence.clips.append(Clip(experiment, row["target_speaker"], row["audio"], *judged))
    kept: list[Sentence] = []
    for sentence in candidates:
        if len(kept) < count and sum(s.size for s in kept) + sentence.size <= max_bytes:
            kept.append(sentence)
    _add_streams(corpus, {sentence.id: sentence for sentence in kept})
    return kept


def choose(sentences: Sequence[Sentence], count: int) -> list[Sentence]:
    """``count`` of those nearest to four seconds; a speaker or text that was taken comes after the others."""
    waiting = sorted(sentences, key=lambda s: (abs(s.seconds - WANTED_SECONDS), s.id))[: 4 * count]
    chosen: list[Sentence] = []
    while waiting and len(chosen) < count:
        speakers, texts = [s.speaker for s in chosen], [s.text for s in chosen]
        best = min(range(len(waiting)), key=lambda i: speakers.count(waiting[i].speaker) + texts.count(waiting[i].text))
        chosen.append(waiting.pop(best))
    return chosen


def _spoken(experiments: Sequence[str], made: Path) -> list[Sentence]:
    """The source utterances that every experiment spoke."""
    common: dict[str, Sentence] = {}
    for index, experiment in enumerate(experiments):
        rows = read_rows(made / experiment, ["source_id", "source_speaker", "text", "num_samples"])
        found = {
            row["source_id"]: Sentence(
                row["source_id"], row["source_speaker"], row["text"] or "", row["num_samples"] / SAMPLE_RATE
            )
            for row in rows
        }
        common = found if index == 0 else {id_: s for id_, s in common.items() if id_ in found}
    return list(common.values())


def _heard(path: Path, wanted: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in read_shard(path, ["id", "source_id", *HEARD]) if row["source_id"] in wanted}


def _rows(directory: Path, key: str, wanted: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows whose ``key`` is wanted; of shards without one nothing but that column is read."""
    for shard in shard_paths(directory):
        if any(row[key] in wanted for row in read_shard(shard, [key])):
            yield from (row for row in read_shard(shard) if row[key] in wanted)


def _add_streams(corpus: Path, wanted: Mapping[str, Sentence]) -> None:
    for row in _rows(corpus / "units", "id", wanted):
        sentence = wanted[row["id"]]
        sentence.units = np.asarray(row["units"])[: round(sentence.seconds * 50)]
    for row in _rows(corpus / "f0", "id", wanted):
        sentence = wanted[row["id"]]
        sentence.f0 = np.asarray(row["f0"])[: round(sentence.seconds * 200)]
