"""Speaker trials of an experiment: who is enrolled, which utterances are joined, every score.

Enrolment: for every speaker of the source and target corpora up to five groups of joined training recordings of the
stated length; their d-vectors are averaged. A speaker without training recordings is enrolled with all there are.
Trials: the experiment's utterances of one source speaker in one intended voice are joined to the stated length (not
over source speakers: that would average what is left of them away); every group meets every enrolled speaker. Those of
a conversion also meet single recordings of their voice, joined to the same length, and these each other
(:mod:`speech.metrics.genuine`).
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from respeak.judges.speaker_judge import speaker_judge
from speech.errors import UserError
from speech.judges.cache import Answers, Joined, Recording
from speech.judges.settings import Evaluate
from speech.metrics.genuine import GenuineTrials, genuine_trials
from speech.metrics.speaker_metrics import cosine_scores, join_groups
from speech.rates import SAMPLE_RATE
from speech.storage.shards import read_shard, shard_paths, speakers_schema, write_shard
from stages.judging.answers import ANSWERS
from stages.runtime.engine import pick_device

ENROLMENT_GROUPS = 5
# The paper pairs every conversion with 50 recordings; pairs of 20 are 190 genuine trials for each voice.
GENUINE_GROUPS = 20
GROUPS_PER_TASK = 6


@dataclass(frozen=True)
class Clip:
    """One utterance that a group is made of: its shard, id and length in seconds."""

    shard: Path
    id: str
    seconds: float


@dataclass(frozen=True)
class Group:
    """Joined utterances of one intended speaker."""

    name: str
    speaker: str
    clips: tuple[Clip, ...]

    @property
    def seconds(self) -> float:
        """Length of the joined speech."""
        return sum(clip.seconds for clip in self.clips)


@dataclass(frozen=True)
class Trials:
    """Scores ``(G, S)`` of every group against every enrolled speaker; ``intended`` ``(G,)`` indexes ``speakers``.

    ``genuine``: of a conversion, whether it can be told from its voice's recordings.
    """

    groups: list[Group]
    speakers: list[str]
    intended: np.ndarray
    scores: np.ndarray
    genuine: GenuineTrials | None = None

    @property
    def seconds(self) -> np.ndarray:
        """``(G,)`` length of each group in seconds."""
        return np.array([group.seconds for group in self.groups], np.float64)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield one row per trial, of schema ``speech.metrics.summary.TRIALS``."""
        for group, scores in zip(self.groups, self.scores, strict=True):
            common = {**_described(group), "trial": "enrolled"}
            for speaker, score in zip(self.speakers, scores.tolist(), strict=True):
                yield {**common, "claimed": speaker, "score": score}
        if self.genuine is None:
            return
        converted = {group.name: _described(group) for group in self.groups}
        for trial, one, other, score in self.genuine.rows():
            described = converted.get(one, {"group": one, "utterances": "", "seconds": None, "intended": ""})
            yield {**described, "trial": trial, "claimed": other, "score": score}


@dataclass(frozen=True)
class Embedding:
    """The groups that one task embeds, by the judge of the settings, on ``auto``, ``cpu`` or ``cuda``."""

    evaluate: Evaluate
    device: str
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class Plan:
    """The trials of an experiment before anything is heard: who is enrolled, what is joined, the tasks to embed it."""

    enrolment: list[Group]
    groups: list[Group]
    genuine: list[Group]
    tasks: dict[str, Embedding]

    def score(self, parts: Path) -> Trials:
        """Score all pairs, from the files that the tasks left in ``parts``."""
        vectors = np.stack([row["embedding"] for name in self.tasks for row in read_shard(parts / name)])
        speakers = sorted({group.speaker for group in self.enrolment})
        owners = np.array([group.speaker for group in self.enrolment])
        enrolled = np.stack([vectors[: len(owners)][owners == name].mean(axis=0) for name in speakers])
        made, own = np.split(vectors[len(owners) :], [len(self.groups)])
        scores = cosine_scores(made, enrolled)
        intended = np.array([speakers.index(group.speaker) for group in self.groups], np.int64)
        return Trials(self.groups, speakers, intended, scores, self._genuine(made, own))

    def _genuine(self, made: np.ndarray, own: np.ndarray) -> GenuineTrials | None:
        if not self.genuine:
            return None
        return genuine_trials(
            {group.name: vector for group, vector in zip(self.groups, made, strict=True)},
            [group.speaker for group in self.groups],
            {group.name: vector for group, vector in zip(self.genuine, own, strict=True)},
            [group.speaker for group in self.genuine],
        )


def plan_trials(
    made: Path, corpora: Sequence[Path], settings: Evaluate, seed: int, converted: bool = False, device: str = "auto"
) -> Plan:
    """Choose enrolment and test groups, and of what was ``converted`` the recordings of the voices it is compared with.

    Raises:
        UserError: an utterance is meant to be a speaker whom no corpus has, a shard is damaged, or the judge's weights
            are not there.
    """
    speaker_judge(settings)  # before anything is read, and not in a worker
    enrolment = enrolment_groups(corpora, settings.speaker_seconds, seed)
    groups = trial_groups(made, settings.speaker_seconds, seed)
    if unknown := sorted({group.speaker for group in groups} - {group.speaker for group in enrolment}):
        names = " and ".join(str(corpus) for corpus in dict.fromkeys(corpora))
        raise UserError(f"{made}: speaker '{unknown[0]}' is in neither {names}; run 'dvc repro' again")
    voices = {group.speaker for group in groups} if converted else set()
    genuine = [
        group
        for group in enrolment_groups(corpora, settings.speaker_seconds, seed, GENUINE_GROUPS, "genuine")
        if group.speaker in voices
    ]
    together = [*enrolment, *groups, *genuine]
    tasks = {
        f"speakers-{i // GROUPS_PER_TASK:05d}.parquet": Embedding(
            settings, device, tuple(together[i : i + GROUPS_PER_TASK])
        )
        for i in range(0, len(together), GROUPS_PER_TASK)
    }
    return Plan(enrolment, groups, genuine, tasks)


def trial_groups(made: Path, seconds: float, seed: int) -> list[Group]:
    """Join the experiment's utterances by source speaker and intended speaker."""
    clips: dict[tuple[str, str], list[Clip]] = defaultdict(list)
    for shard in shard_paths(made):
        for row in read_shard(shard, ["id", "source_speaker", "target_speaker", "num_samples"]):
            pair = (row["target_speaker"], row["source_speaker"])
            clips[pair].append(Clip(shard, row["id"], row["num_samples"] / SAMPLE_RATE))
    return [
        group
        for (target, source), members in sorted(clips.items())
        for group in _join(f"{source}>{target}", target, members, seconds, seed, None)
    ]


def enrolment_groups(
    corpora: Sequence[Path], seconds: float, seed: int, limit: int = ENROLMENT_GROUPS, name: str = "enrol"
) -> list[Group]:
    """Join each speaker's training recordings; all recordings of those who have none for training."""
    train: dict[str, list[Clip]] = defaultdict(list)
    other: dict[str, list[Clip]] = defaultdict(list)
    for shard in [path for corpus in dict.fromkeys(corpora) for path in shard_paths(corpus / "audio")]:
        for row in read_shard(shard, ["id", "speaker", "split", "num_speech"]):
            kind = train if row["split"] == "train" else other
            kind[row["speaker"]].append(Clip(shard, row["id"], row["num_speech"] / SAMPLE_RATE))
    return [
        group
        for speaker in sorted({*train, *other})
        for group in _join(f"{name}:{speaker}", speaker, train.get(speaker) or other[speaker], seconds, seed, limit)
    ]


def _described(group: Group) -> dict[str, Any]:
    return {
        "group": group.name,
        "utterances": " ".join(clip.id for clip in group.clips),
        "seconds": group.seconds,
        "intended": group.speaker,
    }


def _join(name: str, speaker: str, clips: list[Clip], seconds: float, seed: int, limit: int | None) -> list[Group]:
    clips = sorted(clips, key=lambda clip: clip.id)
    joined = join_groups([clip.seconds for clip in clips], seconds, seed, limit)
    return [Group(f"{name}#{n}", speaker, tuple(clips[i] for i in members)) for n, members in enumerate(joined)]


def embed_groups(task: Embedding, output: Path) -> dict[str, int]:
    """Write the embeddings of joined utterances, in the order given; the report counts answers found and made."""
    answers = Answers(ANSWERS)
    judge = speaker_judge(task.evaluate, functools.partial(pick_device, task.device))
    recordings = _read_clips({clip for group in task.groups for clip in group.clips})
    rows = []
    for group in task.groups:
        joined = Joined(tuple(recordings[clip] for clip in group.clips))
        vector = answers.ask(judge, joined)["embedding"]
        rows.append({"id": group.name, "speaker": group.speaker, "embedding": np.array(vector, np.float32)})
    write_shard(output, rows, speakers_schema(len(rows[0]["embedding"])))
    return {"found": answers.found, "judged": answers.judged}


def _read_clips(clips: set[Clip]) -> dict[Clip, Recording]:
    wanted = {(clip.shard, clip.id): clip for clip in clips}
    found: dict[Clip, Recording] = {}
    for shard in sorted({clip.shard for clip in clips}):
        for row in read_shard(shard, ["id", "audio"]):
            clip = wanted.get((shard, row["id"]))
            if clip is not None:
                # Padding tells nothing of the speaker.
                samples = round(clip.seconds * SAMPLE_RATE)
                found[clip] = Recording(row["audio"], f"{shard}: utterance '{clip.id}'", samples)
    return found
