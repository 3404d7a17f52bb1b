"""Recordings on the page: test sentences, and what every system made of them."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from speech.audio.waveforms import decode_audio

# How sentences are chosen, for whoever looks at them.
CHOSEN = (
    "Sentences are chosen by their recordings alone: first those that the recogniser hears best in them, of these the "
    "nearest to four seconds, of different speakers and texts as far as there are."
)
# Long enough to judge a voice by, short enough to hear ten systems in a row, seconds.
WANTED_SECONDS = 4.0


@dataclass(frozen=True)
class Clip:
    """A recording that one system made of a sentence.

    Attributes:
        system: its label.
        voice: who it is meant to sound like.
        audio: FLAC or WAV bytes.
        heard: what the recogniser took it for, ``errors`` of ``words`` wrong; None where words were not judged.
        errors: see ``heard``.
        words: see ``heard``.
        verdict: what the tables call the system.
        f0: its F0 in Hz every 5 ms, 0 where unvoiced; None where it is not to be drawn.
    """

    system: str
    voice: str
    audio: bytes
    heard: str | None = None
    errors: int | None = None
    words: int | None = None
    verdict: str = ""
    f0: np.ndarray | None = None

    @property
    def wave(self) -> np.ndarray:
        """``(T,)`` float32 at 16 kHz."""
        return decode_audio(self.audio)

    @property
    def mime(self) -> str:
        """The name that browsers have for the format."""
        return "audio/flac" if self.audio.startswith(b"fLaC") else "audio/wav"


@dataclass
class Sentence:
    """A test utterance: its speaker and text, its F0 in Hz every 5 ms, its units at 50 Hz, its clips.

    ``wrong``: the share of words that the recogniser gets wrong in the recording itself; None where it was not judged.
    """

    id: str
    speaker: str
    text: str
    seconds: float
    wrong: float | None = None
    clips: list[Clip] = field(default_factory=list)
    f0: np.ndarray | None = None
    units: np.ndarray | None = None

    @property
    def size(self) -> int:
        """Bytes of audio."""
        return sum(len(clip.audio) for clip in self.clips)


def groups(synthesized: Mapping[str, Collection[str]]) -> Iterator[tuple[list[str], list[str]]]:
    """Divide systems so that those of a group can be heard side by side: with the sentences that all of it synthesized.

    Args:
        synthesized: ids of the sentences of each system.

    Yields:
        The systems of a group in the order given and their common sentences; the largest group first. A system that
        synthesized nothing is in none, every other in exactly one.
    """
    waiting = [name for name, ids in synthesized.items() if ids]
    while waiting:
        sharing = Counter(id_ for name in waiting for id_ in synthesized[name])
        most = max(sharing.values())
        sets: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for id_ in (id_ for id_, count in sharing.items() if count == most):
            sets[tuple(name for name in waiting if id_ in synthesized[name])].append(id_)
        names = max(sets, key=lambda names: len(sets[names]))
        yield list(names), sets[names]
        waiting = [name for name in waiting if name not in names]


def choose(sentences: Sequence[Sentence], count: int) -> list[Sentence]:
    """Choose ``count`` of those that the recogniser hears best in the recordings, of these the nearest to four seconds.

    A speaker or text that was taken comes after the others, as long as that brings in none that is heard worse than the
    ``count`` best. What a system made of a sentence plays no part.
    """
    if not sentences or count < 1:
        return []
    ranked = sorted(sentences, key=lambda s: (_unheard(s), abs(s.seconds - WANTED_SECONDS), s.id))
    worst = _unheard(ranked[:count][-1])
    waiting = [s for s in ranked if _unheard(s) <= worst][: 4 * count]
    chosen: list[Sentence] = []
    while waiting and len(chosen) < count:
        speakers, texts = [s.speaker for s in chosen], [s.text for s in chosen]
        best = min(range(len(waiting)), key=lambda i: speakers.count(waiting[i].speaker) + texts.count(waiting[i].text))
        chosen.append(waiting.pop(best))
    return chosen


def _unheard(sentence: Sentence) -> float:
    return math.inf if sentence.wrong is None else sentence.wrong
