"""Make the audio that is judged: the source corpus's test split, copied, resynthesised or converted.

In: the source corpus's audio, units and F0 shards, and a system's bundle; for conversion the target corpus's
``f0_stats.json``, which names its speakers; for voices that the system was not trained on, the d-vectors of their
corpus. Out: shards ``synthesize/<experiment>`` in the order of the corpus, 16 kHz, cut to the length of the speech
before padding. Every experiment speaks the same utterances: their rows compare.
Conversion and changes of F0 as in Polyak et al. 2021, sections 3.2 and 3.3: random targets for each utterance, here
drawn evenly from a stated seed.
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
import json
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from respeak.bundle import read_config
from speech.errors import UserError
from speech.shards import SYNTHESIS, read_shard, shard_name, shard_paths, write_shard, zip_shards
from stages.runtime.params import Experiment
from stages.runtime.stage import Stage, stage_main
from stages.runtime.voices import mean_vectors

if TYPE_CHECKING:
    from respeak.api import System
    from respeak.softvc import SoftVC
    from respeak.vocoding import Voice

ROWS_PER_PART = 16
FIGURE_ROWS = 3
F0_HOP = 80


@dataclass(frozen=True)
class Utterance:
    """One source utterance of the test split: the audio shard it lies in, who says what."""

    shard: str
    id: str
    speaker: str
    text: str | None


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


def run(stage: Stage) -> None:
    """Write ``synthesize/<experiment>``."""
    params, name = stage.params, stage.require_variant(list(stage.params.experiments))
    experiment, roles = params.experiments[name], params.roles
    corpus = Path("data") / roles.source
    chosen = choose_utterances(list(_test_split(corpus)), params.synthesize.max_utterances, params.seed)
    if not chosen:
        raise UserError(f"{corpus}/audio: no utterance is in split 'test'; give the corpus more recordings")
    inputs = [corpus / "audio"]
    if experiment.task != "copy":
        inputs += [corpus / "units", corpus / "f0", Path(experiment.input)]
    if experiment.task == "conversion":
        inputs.append(_target_stats(stage))
    voices = _choose_voices(stage, experiment, chosen)
    strangers = {} if experiment.task == "copy" else _strangers(stage, experiment, chosen, voices)
    if any(voice.vector is not None for voice in strangers.values()):
        inputs += [Path("data") / name / "speakers" for name in dict.fromkeys([roles.source, roles.target])]
    melodies = choose_melodies(chosen) if experiment.melody == "other" else {}
    job = stage.job(inputs, Path("synthesize") / name)
    settings = (strangers, melodies, params.seed, params.runtime.device, params.audio.codec)
    tasks = {
        shard_name(index): Part(experiment, corpus, group[0].shard, {u.id: voices[u.id] for u in group}, *settings)
        for index, group in enumerate(_groups(chosen))
    }
    reports = job.run(tasks, synthesize_part, f"synthesize {name}").values()
    audio, wall = (sum(report[key] for report in reports) for key in ("audio_seconds", "wall_seconds"))
    stage.tracker.log_metrics({"audio_seconds": audio, "real_time_factor": wall / audio})
    _log_spectrograms(stage, job.parts / shard_name(0))
    job.publish()


def choose_utterances(utterances: Sequence[Utterance], limit: int, seed: int) -> list[Utterance]:
    """At most ``limit`` utterances, spread evenly over speakers and then over texts, in the given order."""
    if len(utterances) <= limit:
        return list(utterances)
    order = np.random.default_rng(seed).permutation(len(utterances)).tolist()
    waiting: dict[str, list[int]] = {}
    for index in order:
        waiting.setdefault(utterances[index].speaker, []).append(index)
    texts: Counter[str | None] = Counter()
    taken: list[int] = []
    while len(taken) < limit:
        for speaker in [name for name in sorted(waiting) if waiting[name]][: limit - len(taken)]:
            index = min(waiting[speaker], key=lambda i: texts[utterances[i].text])
            waiting[speaker].remove(index)
            texts[utterances[index].text] += 1
            taken.append(index)
    return [utterances[i] for i in sorted(taken)]


def choose_targets(
    utterances: Sequence[Utterance], voices: Sequence[str], count: int, seed: int
) -> dict[str, tuple[str, ...]]:
    """Per utterance id up to ``count`` different voices that are not its own, each voice about equally often.

    Raises:
        UserError: an utterance has no other voice to be converted to.
    """
    rng = np.random.default_rng(seed)
    pairs: Counter[tuple[str, str]] = Counter()
    total: Counter[str] = Counter()
    chosen = {}
    for utterance in utterances:
        others = [voice for voice in voices if voice != utterance.speaker]
        if not others:
            raise UserError(
                f"conversion: no voice but its own to convert '{utterance.id}' ('{utterance.speaker}') to; "
                "choose another roles.target"
            )
        others = rng.permutation(others).tolist()
        others.sort(key=lambda voice: (pairs[utterance.speaker, voice], total[voice]))
        targets = tuple(sorted(others[:count]))
        pairs.update((utterance.speaker, voice) for voice in targets)
        total.update(targets)
        chosen[utterance.id] = targets
    return chosen


def choose_melodies(utterances: Sequence[Utterance]) -> dict[str, str]:
    """For each utterance id that of the next one of its shard, whose melody it is to have; the last has the first's.

    Raises:
        UserError: a shard has one utterance only.
    """
    chosen: dict[str, str] = {}
    for shard, group in itertools.groupby(utterances, key=lambda utterance: utterance.shard):
        ids = [utterance.id for utterance in group]
        if len(ids) == 1:
            raise UserError(f"melody 'other': shard {shard} has one test utterance only; raise runtime.shard_minutes")
        chosen |= dict(zip(ids, ids[1:] + ids[:1], strict=True))
    return chosen


def synthesize_part(part: Part, path: Path) -> dict[str, float]:
    """Write one part; the report tells seconds of audio made and of time taken, loading not counted."""
    report = {"audio_seconds": 0.0, "wall_seconds": 0.0}
    write_shard(path, _rows(part, report), SYNTHESIS, {"stage": "synthesize", "sample_rate": 16000})
    return report


def _rows(part: Part, report: dict[str, float]) -> Iterator[dict[str, Any]]:
    from speech.audio import SAMPLE_RATE, encode_audio

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
    from speech.audio import decode_audio

    for row in read_shard(part.corpus / "audio" / part.shard):
        if row["id"] in part.voices:
            yield row, row["speaker"], decode_audio(row["audio"])[: row["num_speech"]]


def _renderings(part: Part, report: dict[str, float]) -> Iterator[tuple[dict[str, Any], str, np.ndarray]]:
    from respeak.api import Encoded
    from respeak.softvc import SoftVC
    from speech.intonation import Intonation
    from speech.units import shuffle_units

    experiment = part.experiment
    system = _load_system(experiment.input, part.device, part.seed if experiment.weights == "untrained" else None)
    if isinstance(system, SoftVC):
        yield from _soft_renderings(part, report, system)
        return
    shards = [part.corpus / stream / part.shard for stream in ("audio", "units", "f0")]
    columns = [["id", "speaker", "text", "num_speech"], None, None]
    melodies = dict(_melodies(part, system))
    intonation = Intonation(experiment.semitones, experiment.span)
    for source, units_row, f0_row in zip_shards(*shards, columns=columns):
        units = units_row["units"]
        if experiment.units == "shuffled":
            units = shuffle_units(units, [part.seed, zlib.crc32(source["id"].encode())])
        for name in part.voices.get(source["id"], ()):
            start = time.perf_counter()
            encoded = Encoded(units, f0_row["f0"], source["num_speech"])
            voice = part.strangers.get(name) or system.voice(name)
            melody = melodies[part.melodies[source["id"]]] if melodies else None
            wave = system.speak(encoded, voice, _statistics(part, source["speaker"]), intonation, melody)
            report["wall_seconds"] += time.perf_counter() - start
            yield source, name, wave


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
    from speech.audio import decode_audio
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


@functools.lru_cache(maxsize=1)
def _load_system(path: str, device: str, untrained_seed: int | None) -> System | SoftVC:
    from respeak.systems import load_system

    return load_system(path, device, untrained_seed)


def _test_split(corpus: Path) -> Iterator[Utterance]:
    for path in shard_paths(corpus / "audio"):
        for row in read_shard(path, ["id", "speaker", "text", "split"]):
            if row["split"] == "test":
                yield Utterance(path.name, row["id"], row["speaker"], row["text"])


def _groups(utterances: Sequence[Utterance]) -> Iterator[list[Utterance]]:
    """Utterances of one shard, a part's worth at a time."""
    for _, group in itertools.groupby(utterances, key=lambda utterance: utterance.shard):
        members = list(group)
        yield from (members[i : i + ROWS_PER_PART] for i in range(0, len(members), ROWS_PER_PART))


def _choose_voices(stage: Stage, experiment: Experiment, utterances: Sequence[Utterance]) -> dict[str, tuple[str, ...]]:
    if experiment.task == "copy":
        return {u.id: (u.speaker,) for u in utterances}
    config = read_config(Path(experiment.input))
    known, by_vector = config["speakers"], bool(config.get("model", {}).get("speaker_dim"))
    if experiment.task == "resynthesis":
        for utterance in utterances:
            if utterance.speaker not in known and not by_vector:
                raise UserError(
                    f"{experiment.input}: has no speaker '{utterance.speaker}' of corpus {stage.params.roles.source}, "
                    f"only {', '.join(known)}; resynthesis needs the source's speakers, conversion does not, nor does "
                    "a system with train_resynthesis.speaker=vector"
                )
        return {u.id: (u.speaker,) for u in utterances}
    stats = _target_stats(stage)
    targets = json.loads(stats.read_text()) if stats.is_file() else {}
    if experiment.voices == "unseen":
        if not by_vector:
            raise UserError(
                f"{experiment.input}: voices 'unseen' need a system with train_resynthesis.speaker=vector; this one "
                "has a table of its own speakers"
            )
        voices = [name for name in targets if name not in known]
    else:
        voices = [name for name in known if name in targets]
    if not voices:
        raise UserError(
            f"{stats}: no speaker that {experiment.input} ({', '.join(known)}) has {experiment.voices}; choose another "
            "roles.target"
        )
    return choose_targets(utterances, voices, stage.params.synthesize.targets_per_utterance, stage.params.seed)


def _strangers(
    stage: Stage, experiment: Experiment, utterances: Sequence[Utterance], voices: Mapping[str, Sequence[str]]
) -> dict[str, Voice]:
    """Sources and targets whom the system does not know, with what their corpora know of them."""
    from respeak.vocoding import Voice

    if experiment.system == "soft-vc":  # its content encoder knows no speakers, and its voices are its own
        return {}
    config = read_config(Path(experiment.input))
    sources, targets = {u.speaker for u in utterances}, {name for names in voices.values() for name in names}
    missing = sorted((sources | targets) - set(config["speakers"]))
    strangers: dict[str, Voice] = {}
    for corpus in dict.fromkeys([stage.params.roles.source, stage.params.roles.target]):
        directory = Path("data") / corpus
        wanted = [name for name in missing if name not in strangers]
        if not wanted or not (directory / "f0_stats.json").is_file():
            continue
        stats = json.loads((directory / "f0_stats.json").read_text())
        by_vector = config["model"].get("speaker_dim") and any(name in stats for name in wanted)
        vectors = mean_vectors(directory / "speakers") if by_vector else {}
        strangers |= {name: Voice(name, stats[name], None, vectors.get(name)) for name in wanted if name in stats}
    return strangers


def _target_stats(stage: Stage) -> Path:
    return Path("data") / stage.params.roles.target / "f0_stats.json"


def _log_spectrograms(stage: Stage, part: Path) -> None:
    """The first utterances as pictures, where matplotlib is installed."""
    if importlib.util.find_spec("matplotlib") is None:
        return
    from matplotlib.figure import Figure

    from speech.audio import SAMPLE_RATE, decode_audio

    rows = list(itertools.islice(read_shard(part, ["id", "target_speaker", "text", "audio"]), FIGURE_ROWS))
    figure = Figure(figsize=(10, 2.5 * len(rows)), layout="constrained")
    for axes, row in zip(figure.subplots(len(rows), squeeze=False)[:, 0], rows, strict=True):
        wave = decode_audio(row["audio"])
        # Noise far below 16 bits keeps the logarithm of digital silence finite.
        noise = np.random.default_rng(0).normal(scale=1e-6, size=len(wave))
        axes.specgram(wave + noise, NFFT=512, noverlap=384, Fs=SAMPLE_RATE, vmin=-120)
        axes.set(title=f"{row['id']} · {row['target_speaker']} · {row['text'] or ''}", xlabel="s", ylabel="Hz")
    stage.tracker.log_figure("spectrograms.png", figure)


if __name__ == "__main__":
    stage_main("synthesize", run)
