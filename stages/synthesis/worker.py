"""What a worker of the stage ``synthesize`` does: some utterances of one shard, spoken by a system or copied."""

from __future__ import annotations

import functools
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from speech.errors import UserError
from speech.storage.shards import SYNTHESIS, read_shard, write_shard, zip_shards
from stages.params.experiments import Experiment

if TYPE_CHECKING:
    from respeak.systems.resynthesis.piecewise import Request
    from respeak.systems.resynthesis.system import Encoded, System
    from respeak.systems.softvc.system import SoftVC
    from respeak.voices import Voice
    from speech.intonation import Intonation

F0_HOP = 80


@dataclass(frozen=True)
class Part:
    """What one worker writes: some utterances of one source shard, each in the voices chosen for it.

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
    """Write one part; the report tells seconds of audio made and of time taken, loading not counted."""
    report = {"audio_seconds": 0.0, "wall_seconds": 0.0}
    write_shard(path, _rows(part, report), SYNTHESIS, {"stage": "synthesize", "sample_rate": 16000})
    return report


def _rows(part: Part, report: dict[str, float]) -> Iterator[dict[str, Any]]:
    from speech.audio.waveforms import SAMPLE_RATE, encode_audio

    made = _copies(part) if part.experiment.task == "copy" else _renderings(part, report)
    for source, voice, wave in made:
        report["audio_seconds"] += len(wave) / SAMPLE_RATE
        yield {
            "id": source["id"] if part.experiment.task != "conversion" else f"{source['id']}__{voice}",
            "source_id": source["id"],
            "source_speaker": source["speaker"],
            "target_speaker": voice,
            "text": source["text"],
            "num_samples": len(wave),
            "audio": encode_audio(wave, part.codec),
        }


def _copies(part: Part) -> Iterator[tuple[dict[str, Any], str, np.ndarray]]:
    from speech.audio.waveforms import decode_audio

    for row in read_shard(part.corpus / "audio" / part.shard):
        if row["id"] in part.voices:
            yield row, row["speaker"], decode_audio(row["audio"])[: row["num_speech"]]


def _renderings(part: Part, report: dict[str, float]) -> Iterator[tuple[dict[str, Any], str, np.ndarray]]:
    from respeak.systems.resynthesis.system import Encoded
    from respeak.systems.softvc.system import SoftVC
    from speech.intonation import Intonation
    from speech.units import shuffle_units

    experiment = part.experiment
    system = _load_system(experiment.input, part.device, part.seed if experiment.weights == "untrained" else None)
    if isinstance(system, SoftVC):
        spoken = _vocoded if experiment.task == "vocode" else _soft_renderings
        yield from spoken(part, report, system)
        return
    shards = [part.corpus / stream / part.shard for stream in ("audio", "units", "f0")]
    columns = [["id", "speaker", "text", "num_speech"], None, None]
    melodies = dict(_melodies(part, system))
    intonation = Intonation(experiment.semitones, experiment.span)
    planned = functools.partial(_repeated, system) if experiment.units == "deduplicated" else system.plan
    said: list[tuple[dict[str, Any], str]] = []
    requests: list[Request] = []
    start = time.perf_counter()
    for source, units_row, f0_row in zip_shards(*shards, columns=columns):
        units = units_row["units"]
        if experiment.units == "shuffled":
            units = shuffle_units(units, [part.seed, zlib.crc32(source["id"].encode())])
        for name in part.voices.get(source["id"], ()):
            encoded = Encoded(units, f0_row["f0"], source["num_speech"])
            voice = part.strangers.get(name) or system.voice(name)
            melody = melodies[part.melodies[source["id"]]] if melodies else None
            arguments = (encoded, voice, _statistics(part, source["speaker"]), intonation, melody)
            requests.append(planned(*arguments))
            said.append((source, name))
    waves = system.generate_many(requests)
    report["wall_seconds"] += time.perf_counter() - start
    for (source, name), wave in zip(said, waves, strict=True):
        yield source, name, wave if experiment.units == "deduplicated" else wave[: source["num_speech"]]


def _repeated(
    system: System,
    encoded: Encoded,
    voice: Voice,
    statistics: str | Mapping[str, Any],
    intonation: Intonation,
    melody: np.ndarray | None,
) -> Request:
    """The units of the speech without their repetitions, with its melody stretched to however long they last."""
    units = encoded.units[: -(-encoded.num_speech // system.unit_hop)]
    if melody is None:
        melody = system.normalise_f0(encoded.f0[: encoded.num_speech // F0_HOP], statistics)
    # A melody without a voiced frame is none; the units then speak on a level.
    return system.plan_units(units, voice, intonation, melody if melody.any() else None, deduplicated=True)


def _melodies(part: Part, system: System) -> Iterator[tuple[str, np.ndarray]]:
    """By id the z-scored melodies that utterances of the part are to have."""
    wanted = {part.melodies[id_] for id_ in part.voices if id_ in part.melodies}
    if not wanted:
        return
    shards = [part.corpus / stream / part.shard for stream in ("audio", "f0")]
    for source, f0_row in zip_shards(*shards, columns=[["id", "speaker", "num_speech"], None]):
        if source["id"] in wanted:
            frames = source["num_speech"] // F0_HOP
            yield source["id"], system.normalise_f0(f0_row["f0"][:frames], _statistics(part, source["speaker"]))


def _statistics(part: Part, speaker: str) -> str | Mapping[str, Any]:
    """What F0 of a speaker is normalised by: what the system knows by the name, or the statistics of the corpus."""
    return part.strangers[speaker].stats if speaker in part.strangers else speaker


def _soft_renderings(
    part: Part, report: dict[str, float], system: SoftVC
) -> Iterator[tuple[dict[str, Any], str, np.ndarray]]:
    """Soft-VC says a part's utterances at once: its acoustic model goes frame by frame, for many as fast as for one."""
    from speech.audio.waveforms import decode_audio
    from speech.units import shuffle_units

    experiment = part.experiment
    if (experiment.voices, experiment.melody, experiment.semitones, experiment.span) != ("seen", "own", 0.0, 1.0):
        raise UserError(f"{experiment.input}: Soft-VC has its own voices and melody; set none in the experiment")
    said: list[tuple[dict[str, Any], str]] = []
    contents: list[np.ndarray] = []
    start = time.perf_counter()
    for source, units_row in zip_shards(part.corpus / "audio" / part.shard, part.corpus / "units" / part.shard):
        voices = part.voices.get(source["id"], ())
        if not voices:
            continue
        # Units of the corpus are normalised by all that a speaker says there.
        by_units = system.content_kind == "units"
        content = units_row["units"] if by_units else system.content(decode_audio(source["audio"]))
        content = content[: -(-source["num_speech"] // system.unit_hop)]
        if experiment.units == "shuffled":
            content = shuffle_units(content, [part.seed, zlib.crc32(source["id"].encode())])
        said += [(source, voice) for voice in voices]
        contents += [content] * len(voices)
    mels = system.mels(contents, [voice for _, voice in said])
    report["wall_seconds"] += time.perf_counter() - start
    for (source, voice), mel in zip(said, mels, strict=True):
        start = time.perf_counter()
        wave = system.vocode(mel)[: source["num_speech"]]
        report["wall_seconds"] += time.perf_counter() - start
        yield source, voice, wave


def _vocoded(part: Part, report: dict[str, float], system: SoftVC) -> Iterator[tuple[dict[str, Any], str, np.ndarray]]:
    """The recordings' own log-mels through the vocoder: what is lost behind the acoustic model."""
    import torch

    from models.softvc.mel import wave_to_mel

    for source, speaker, wave in _copies(part):
        start = time.perf_counter()
        padded = np.pad(wave, (0, -len(wave) % system.unit_hop))
        spoken = system.vocode(wave_to_mel(torch.from_numpy(padded)[None])[0].T.numpy())[: len(wave)]
        report["wall_seconds"] += time.perf_counter() - start
        yield source, speaker, spoken


@functools.lru_cache(maxsize=1)
def _load_system(path: str, device: str, untrained_seed: int | None) -> System | SoftVC:
    from respeak.systems.registry import load_system

    return load_system(path, device, untrained_seed)
