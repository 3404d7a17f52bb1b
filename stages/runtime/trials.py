"""Speaker trials of an experiment: who is enrolled, which utterances are joined, every score.

Enrolment: for every speaker of the source and target corpora up to five groups of joined training recordings of the
stated length; their d-vectors are averaged. A speaker without training recordings is enrolled with all there are.
Trials: the experiment's utterances of one source speaker in one intended voice are joined to the stated length (not
over source speakers: that would average what is left of them away); every group meets every enrolled speaker.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from speech.audio import decode_audio
from speech.errors import AudioError, UserError
from speech.metrics.speaker import cosine_scores, join_groups
from speech.shards import read_shard, shard_paths, speakers_schema, write_shard
from stages.runtime.jobs import Job

DIM = 256
SAMPLE_RATE = 16_000
ENROLMENT_GROUPS = 5
GROUPS_PER_TASK = 16


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
    """Scores ``(G, S)`` of every group against every enrolled speaker; ``intended`` ``(G,)`` indexes ``speakers``."""

    groups: list[Group]
    speakers: list[str]
    intended: np.ndarray
    scores: np.ndarray

    @property
    def seconds(self) -> np.ndarray:
        """``(G,)`` length of each group in seconds."""
        return np.array([group.seconds for group in self.groups], np.float64)

    def rows(self) -> Iterator[dict[str, Any]]:
        """One row per trial, of schema ``speech.metrics.summary.TRIALS``."""
        for group, scores in zip(self.groups, self.scores, strict=True):
            common = {
                "group": group.name,
                "utterances": " ".join(clip.id for clip in group.clips),
                "seconds": group.seconds,
                "intended": group.speaker,
            }
            for speaker, score in zip(self.speakers, scores.tolist(), strict=True):
                yield {**common, "claimed": speaker, "score": score}


def judge_speakers(job: Job, made: Path, corpora: Sequence[Path], seconds: float, seed: int) -> Trials:
    """Embed enrolment and test groups in worker processes and score all pairs.

    Raises:
        UserError: an utterance is meant to be a speaker whom no corpus has, or a shard is damaged.
    """
    enrolment = enrolment_groups(corpora, seconds, seed)
    speakers = sorted({group.speaker for group in enrolment})
    groups = trial_groups(made, seconds, seed)
    if unknown := sorted({group.speaker for group in groups} - set(speakers)):
        names = " and ".join(str(corpus) for corpus in dict.fromkeys(corpora))
        raise UserError(f"{made}: speaker '{unknown[0]}' is in neither {names}; run 'dvc repro' again")
    vectors = _embed(job, [*enrolment, *groups])
    owners = np.array([group.speaker for group in enrolment])
    enrolled = np.stack([vectors[: len(enrolment)][owners == name].mean(axis=0) for name in speakers])
    scores = cosine_scores(vectors[len(enrolment) :], enrolled)
    return Trials(groups, speakers, np.array([speakers.index(g.speaker) for g in groups], np.int64), scores)


def trial_groups(made: Path, seconds: float, seed: int) -> list[Group]:
    """The experiment's utterances, joined by source speaker and intended speaker."""
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


def enrolment_groups(corpora: Sequence[Path], seconds: float, seed: int) -> list[Group]:
    """Each speaker's training recordings, joined; all recordings of those who have none for training."""
    train: dict[str, list[Clip]] = defaultdict(list)
    other: dict[str, list[Clip]] = defaultdict(list)
    for shard in [path for corpus in dict.fromkeys(corpora) for path in shard_paths(corpus / "audio")]:
        for row in read_shard(shard, ["id", "speaker", "split", "num_speech"]):
            kind = train if row["split"] == "train" else other
            kind[row["speaker"]].append(Clip(shard, row["id"], row["num_speech"] / SAMPLE_RATE))
    return [
        group
        for speaker in sorted({*train, *other})
        for group in _join(
            f"enrol:{speaker}", speaker, train.get(speaker) or other[speaker], seconds, seed, ENROLMENT_GROUPS
        )
    ]


def _join(name: str, speaker: str, clips: list[Clip], seconds: float, seed: int, limit: int | None) -> list[Group]:
    clips = sorted(clips, key=lambda clip: clip.id)
    joined = join_groups([clip.seconds for clip in clips], seconds, seed, limit)
    return [Group(f"{name}#{n}", speaker, tuple(clips[i] for i in members)) for n, members in enumerate(joined)]


def _embed(job: Job, groups: Sequence[Group]) -> np.ndarray:
    """D-vectors ``(G, 256)`` float32 of groups."""
    starts = range(0, len(groups), GROUPS_PER_TASK)
    tasks = {f"speakers-{i // GROUPS_PER_TASK:05d}.parquet": tuple(groups[i : i + GROUPS_PER_TASK]) for i in starts}
    job.run(tasks, embed_groups, f"{job.output}: speakers")
    found = [row["embedding"] for name in tasks for row in read_shard(job.parts / name)]
    return np.stack(found)


def embed_groups(groups: Sequence[Group], output: Path) -> dict[str, int]:
    """Write the d-vectors of joined utterances, in the order given."""
    from speech.judges.speaker import embed

    waves = _read_clips({clip for group in groups for clip in group.clips})
    rows = []
    for group in groups:
        joined = np.concatenate([waves[clip] for clip in group.clips])
        rows.append({"id": group.name, "speaker": group.speaker, "embedding": embed(joined)})
    write_shard(output, rows, speakers_schema(DIM))
    return {"groups": len(rows)}


def _read_clips(clips: set[Clip]) -> dict[Clip, np.ndarray]:
    wanted = {(clip.shard, clip.id): clip for clip in clips}
    waves: dict[Clip, np.ndarray] = {}
    for shard in sorted({clip.shard for clip in clips}):
        for row in read_shard(shard, ["id", "audio"]):
            clip = wanted.get((shard, row["id"]))
            if clip is None:
                continue
            try:
                wave = decode_audio(row["audio"])
            except AudioError as error:
                raise UserError(f"{shard}: utterance '{clip.id}': {error}") from None
            # Padding says nothing of the speaker.
            waves[clip] = wave[: round(clip.seconds * SAMPLE_RATE)]
    return waves
