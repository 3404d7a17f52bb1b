"""The audio that is judged: the source corpus's test split through a system.

In: the source corpus's audio shards and the other streams that the system declares, and its bundle; for conversion the
target corpus's ``f0_stats.json``, which names its speakers; for voices that the system was not trained on, what their
corpus knows of them. Out: shards ``synthesize/<experiment>`` in the order of the corpus, 16 kHz, cut to the length of
the speech before padding. Every experiment has the same utterances: their rows compare. Conversion and changes of F0 as
in Polyak et al. 2021, sections 3.2 and 3.3: random targets for each utterance, here drawn evenly from a stated seed.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np

from respeak.systems.base import OWN_SOUND, Control, Stream, System, Task
from respeak.systems.registry import find
from speech.errors import UserError
from speech.storage.shards import read_shard, shard_name, shard_paths
from stages.data.speaker_facts import mean_vectors
from stages.params.audio import Audio
from stages.params.experiments import Experiment, ExperimentParams, Synthesize
from stages.runtime.stage import Stage, stage_main
from stages.synthesis.contract import check_experiment
from stages.synthesis.worker import Part, synthesize_part

if TYPE_CHECKING:
    from respeak.voices import Voice

# Enough that recordings of the same length, which are made together, are many.
ROWS_PER_PART = 64
SHARDS = (Stream.UNITS, Stream.F0, Stream.ENERGY)
FIGURE_ROWS = 3


@dataclass(frozen=True)
class Utterance:
    """One source utterance of the test split: the audio shard it lies in, its speaker and text."""

    shard: str
    id: str
    speaker: str
    text: str | None


@dataclass(frozen=True)
class Params(ExperimentParams):
    """Sections of ``params.yaml`` that this stage reads."""

    seed: int
    audio: Annotated[Audio, "through data/<corpus>/audio, whose codec is kept"]
    synthesize: Synthesize


@dataclass(frozen=True)
class Declared:
    """The declarations of an experiment's system, by its bundle's configuration: no network is built.

    Attributes:
        kind: the system.
        experiment: what is to be done with it.
        speakers: names of its voices.
        takes: the controls that the bundle takes.
        streams: what it reads of the source corpus.
    """

    kind: type[System]
    experiment: Experiment
    speakers: tuple[str, ...]
    takes: frozenset[Control]
    streams: frozenset[Stream]

    @classmethod
    def of(cls, experiment: Experiment) -> Declared:
        """Read the bundle's configuration.

        Raises:
            UserError: there is no bundle of that system.
        """
        kind = find(experiment.system)
        config = kind.read_config(experiment.input)
        streams = kind.streams_of(config, Task(experiment.task))
        return cls(kind, experiment, tuple(config["speakers"]), kind.takes_of(config), streams)

    @property
    def any_voice(self) -> bool:
        """True for a system that takes voices which are none of its own."""
        return Control.RECORDING in self.takes


def run(stage: Stage[Params]) -> None:
    """Write ``synthesize/<experiment>``."""
    params, name = stage.params, stage.require_variant(list(stage.params.experiments))
    experiment, roles = params.experiments[name], params.roles
    corpus, target = params.source_of(name), Path("data") / roles.target
    chosen = choose_utterances(list(_test_split(corpus)), params.synthesize.max_utterances, params.seed)
    if not chosen:
        raise UserError(f"{corpus}/audio: no utterance is in split 'test'; give the corpus more recordings")
    check_experiment(experiment)
    system = Declared.of(experiment)
    inputs = [corpus / "audio", *(corpus / stream for stream in SHARDS if stream in system.streams)]
    if system.kind.bundled:
        inputs.append(Path(experiment.input))
    if experiment.task == "conversion":
        inputs.append(_target_stats(stage))
    voices = _choose_voices(stage, system, chosen)
    strangers = _strangers([corpus, target], system, chosen, voices)
    if any(voice.vector is not None for voice in strangers.values()):
        inputs += [folder / "speakers" for folder in dict.fromkeys([corpus, target])]
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
    _log_examples(stage, job.parts / shard_name(0))
    job.publish()


def choose_utterances(utterances: Sequence[Utterance], limit: int, seed: int) -> list[Utterance]:
    """Choose at most ``limit`` utterances, spread evenly over speakers and then over texts, in the given order."""
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
    """Choose per utterance id up to ``count`` different voices that are not its own, each voice about equally often.

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
    """Choose for each utterance id that of its shard's next, whose melody it is to have; the last has the first's.

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


def _test_split(corpus: Path) -> Iterator[Utterance]:
    for path in shard_paths(corpus / "audio"):
        for row in read_shard(path, ["id", "speaker", "text", "split"]):
            if row["split"] == "test":
                yield Utterance(path.name, row["id"], row["speaker"], row["text"])


def _groups(utterances: Sequence[Utterance]) -> Iterator[list[Utterance]]:
    """Yield utterances of one shard, a part's worth at a time."""
    for _, group in itertools.groupby(utterances, key=lambda utterance: utterance.shard):
        members = list(group)
        yield from (members[i : i + ROWS_PER_PART] for i in range(0, len(members), ROWS_PER_PART))


def _choose_voices(
    stage: Stage[Params], system: Declared, utterances: Sequence[Utterance]
) -> dict[str, tuple[str, ...]]:
    experiment = system.experiment
    if experiment.task == "conversion":
        return _choose_targets(stage, system, utterances)
    if Task(experiment.task) not in OWN_SOUND and not system.any_voice:
        for utterance in utterances:
            if utterance.speaker not in system.speakers:
                source = experiment.source or stage.params.roles.source
                hint = system.kind.hints.get(Control.RECORDING)
                raise UserError(
                    f"{experiment.input}: has no speaker '{utterance.speaker}' of corpus {source}, "
                    f"only {', '.join(system.speakers)}; resynthesis needs the source's speakers, conversion does not"
                    + (f", nor does a system with {hint}" if hint else "")
                )
    return {u.id: (u.speaker,) for u in utterances}


def _choose_targets(
    stage: Stage[Params], system: Declared, utterances: Sequence[Utterance]
) -> dict[str, tuple[str, ...]]:
    experiment, known = system.experiment, system.speakers
    stats = _target_stats(stage)
    targets = json.loads(stats.read_text()) if stats.is_file() else {}
    if experiment.voices == "unseen":
        if not system.any_voice:
            raise UserError(
                f"{experiment.input}: voices 'unseen' need a system with {system.kind.hints[Control.RECORDING]}; "
                "this one has a table of its own speakers"
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
    corpora: Sequence[Path],
    system: Declared,
    utterances: Sequence[Utterance],
    voices: Mapping[str, Sequence[str]],
) -> dict[str, Voice]:
    """Return sources and targets whom the system does not know, with what their corpora know of them."""
    from respeak.voices import Voice

    if Stream.F0 not in system.streams:  # whose melodies are its own
        return {}
    sources, targets = {u.speaker for u in utterances}, {name for names in voices.values() for name in names}
    missing = sorted((sources | targets) - set(system.speakers))
    strangers: dict[str, Voice] = {}
    for directory in dict.fromkeys(corpora):
        wanted = [name for name in missing if name not in strangers]
        if not wanted or not (directory / "f0_stats.json").is_file():
            continue
        stats = json.loads((directory / "f0_stats.json").read_text())
        by_vector = Stream.SPEAKERS in system.streams and any(name in stats for name in wanted)
        vectors = mean_vectors(directory / "speakers") if by_vector else {}
        strangers |= {name: Voice(name, stats[name], None, vectors.get(name)) for name in wanted if name in stats}
    return strangers


def _target_stats(stage: Stage[Params]) -> Path:
    return Path("data") / stage.params.roles.target / "f0_stats.json"


def _log_examples(stage: Stage[Params], part: Path) -> None:
    """Log the first utterances to be heard, and as pictures, where matplotlib is installed."""
    if importlib.util.find_spec("matplotlib") is None:
        return
    from matplotlib.figure import Figure

    from speech.audio.waveforms import decode_audio
    from speech.rates import SAMPLE_RATE

    rows = list(itertools.islice(read_shard(part, ["id", "target_speaker", "text", "audio"]), FIGURE_ROWS))
    figure = Figure(figsize=(10, 2.5 * len(rows)), layout="constrained")
    for axes, row in zip(figure.subplots(len(rows), squeeze=False)[:, 0], rows, strict=True):
        wave = decode_audio(row["audio"])
        # Noise far below 16 bits keeps the logarithm of digital silence finite.
        noise = np.random.default_rng(0).normal(scale=1e-6, size=len(wave))
        axes.specgram(wave + noise, NFFT=512, noverlap=384, Fs=SAMPLE_RATE, vmin=-120)
        axes.set(title=f"{row['id']} · {row['target_speaker']} · {row['text'] or ''}", xlabel="s", ylabel="Hz")
        stage.tracker.log_audio(f"{row['id']}-{row['target_speaker']}", wave)
    stage.tracker.log_figure("spectrograms.png", figure)


if __name__ == "__main__":
    stage_main("synthesize", run, Params)
