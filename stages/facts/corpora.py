"""Facts of the stages that make a corpus ready: ``corpus``, ``audio``, ``speakers``.

Speeds here and in the modules beside this one are measured (``benchmarks/throughput.py``: one thread of a 2-core
server, its processor time alone).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from stages.facts.facts import PROCESS_BYTES, Facts

if TYPE_CHECKING:
    from stages.facts.scene import Scene

AUDIO_SPEED, SPEAKERS_SPEED = 800.0, 90.0  # seconds of audio per processor-second
LISTED_PER_SECOND = 300  # recordings
FLAC_BYTES, WAV_BYTES = 29_000, 32_000  # per second of audio
SPOKEN_BYTES = 44_100  # per second of the demo corpus as it is spoken
VECTOR_BYTES, ROW_BYTES = 1_100, 200  # per recording, per row of a table


def _corpus_disk(scene: Scene, corpus: str) -> float:
    made = scene.params.corpora[corpus].adapter == "demo"
    return scene.utterances(corpus) * ROW_BYTES + (scene.seconds(corpus) * SPOKEN_BYTES if made else 0.0)


def _missing_corpus(scene: Scene, name: str) -> Iterable[str]:
    corpus = scene.params.corpora[name]
    if not corpus.download and not (scene.root / corpus.root).exists():
        from speech.corpora import how_to_get

        advice = how_to_get(corpus.adapter, Path(corpus.root), corpus.options)
        yield f"corpora.{name}.root: {corpus.root} not found; set it to where the corpus lies{advice}"


def _audio_disk(scene: Scene, corpus: str) -> float:
    return scene.seconds(corpus) * (FLAC_BYTES if scene.params.audio.codec == "flac" else WAV_BYTES)


STAGES = {
    "corpus": Facts(
        work=lambda scene, corpus: scene.utterances(corpus) / LISTED_PER_SECOND,
        disk=_corpus_disk,
        missing=_missing_corpus,
    ),
    "audio": Facts(work=lambda scene, corpus: scene.seconds(corpus) / AUDIO_SPEED, disk=_audio_disk),
    "speakers": Facts(
        work=lambda scene, corpus: scene.seconds(corpus) / SPEAKERS_SPEED,
        memory=lambda scene, corpus: 2 * PROCESS_BYTES,
        disk=lambda scene, corpus: scene.utterances(corpus) * float(VECTOR_BYTES),
    ),
}
