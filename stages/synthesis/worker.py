"""The work of the stage ``synthesize`` in a worker: some utterances of one shard through a system."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from respeak.systems.base import Manner, Rendering, Source, Stream, System, Task
from respeak.systems.registry import find
from speech.intonation import Intonation
from speech.storage.shards import SYNTHESIS, write_shard, zip_shards
from stages.params.experiments import Experiment

if TYPE_CHECKING:
    from respeak.voices import Voice

COLUMNS = ["id", "speaker", "text", "num_speech"]  # of the audio shards, beside the audio itself


@dataclass(frozen=True)
class Part:
    """The part that one worker writes: some utterances of one source shard, each in the voices chosen for it.

    ``strangers`` are the speakers, sources and targets, whom the system does not know. ``melodies`` names the utterance
    of the shard whose melody another has.
    """

    experiment: Experiment
    corpus: Path
    shard: str
    voices: dict[str, tuple[str, ...]]
    strangers: dict[str, Voice]
    melodies: dict[str, str]
    seed: int
    device: str
    codec: Literal["flac", "wav"]


def synthesize_part(part: Part, path: Path) -> dict[str, float]:
    """Write one part; return seconds of audio made and of time taken, loading not counted."""
    report = {"audio_seconds": 0.0, "wall_seconds": 0.0}
    write_shard(path, _rows(part, report), SYNTHESIS, {"stage": "synthesize", "sample_rate": 16000})
    return report


def _rows(part: Part, report: dict[str, float]) -> Iterator[dict[str, Any]]:
    from speech.audio.waveforms import encode_audio
    from speech.rates import SAMPLE_RATE

    experiment = part.experiment
    system = _load_system(
        experiment.system, experiment.input, part.device, part.seed if experiment.weights == "untrained" else None
    )
    start = time.perf_counter()
    sources, texts = _read(part)
    renderings = _renderings(part, sources)
    made = system.render(renderings, _manner(part))
    for rendering in renderings:
        wave = next(made)
        report["wall_seconds"] += time.perf_counter() - start
        report["audio_seconds"] += len(wave) / SAMPLE_RATE
        source = rendering.source
        yield {
            "id": source.id if experiment.task != "conversion" else f"{source.id}__{rendering.target}",
            "source_id": source.id,
            "source_speaker": source.speaker,
            "target_speaker": rendering.target,
            "text": texts[source.id],
            "num_samples": len(wave),
            "audio": encode_audio(wave, part.codec),
        }
        start = time.perf_counter()


def _read(part: Part) -> tuple[dict[str, Source], dict[str, str | None]]:
    """Return the utterances of the part, and those whose melodies they have, with what the system reads of them."""
    kind, task = find(part.experiment.system), Task(part.experiment.task)
    wanted = kind.streams_of(kind.read_config(part.experiment.input), task)
    others = [stream for stream in (Stream.UNITS, Stream.F0, Stream.ENERGY) if stream in wanted]
    shards = [part.corpus / stream / part.shard for stream in (Stream.AUDIO, *others)]
    heard = ["audio"] if Stream.AUDIO in wanted else []
    needed = {*part.voices, *(part.melodies[id_] for id_ in part.voices if id_ in part.melodies)}
    sources: dict[str, Source] = {}
    texts: dict[str, str | None] = {}
    for row, *rows in zip_shards(*shards, columns=[COLUMNS + heard, *(None for _ in others)]):
        if row["id"] not in needed:
            continue
        streams: dict[Stream, Any] = {stream: found[stream] for stream, found in zip(others, rows, strict=True)}
        if heard:
            streams[Stream.AUDIO] = row["audio"]
        sources[row["id"]] = Source(row["id"], row["speaker"], row["num_speech"], streams)
        texts[row["id"]] = row["text"]
    return sources, texts


def _renderings(part: Part, sources: dict[str, Source]) -> list[Rendering]:
    """Return what is to be rendered, in the order of the corpus."""
    return [
        Rendering(source, name, sources[part.melodies[source.id]] if part.melodies else None)
        for source in sources.values()
        for name in part.voices.get(source.id, ())
    ]


def _manner(part: Part) -> Manner:
    experiment = part.experiment
    intonation = Intonation(experiment.semitones, experiment.span)
    return Manner(Task(experiment.task), experiment.units, intonation, part.seed, part.strangers)


@functools.lru_cache(maxsize=1)
def _load_system(name: str, path: str, device: str, untrained_seed: int | None) -> System:
    return find(name).load(path, device, untrained_seed)
