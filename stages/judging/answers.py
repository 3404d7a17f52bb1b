"""Judging utterance by utterance: a few at a time in worker processes, each answer kept by content."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from respeak.judges.panel import Panel, Reference, Row
from speech.errors import UserError
from speech.judges.cache import Answers, Recording
from speech.judges.settings import Evaluate
from speech.metrics.f0_metrics import move_contour
from speech.metrics.summary import UTTERANCES
from speech.rates import F0_HOP, SAMPLE_RATE
from speech.storage.shards import read_rows, read_shard, shard_paths, write_shard, zip_shards
from stages.params.f0 import F0
from stages.runtime.engine import pick_device

if TYPE_CHECKING:
    from stages.evaluate import Params

# Beside scratch that stages prune: the answers outlive them.
ANSWERS = Path(".scratch") / "answers"
# Few enough that the workers finish together, enough that a task costs more than reading its shards.
UTTERANCES_PER_TASK = 6

LogStatistics = dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Part:
    """The part of one task: some utterances of a shard of synthesized audio, and where their sources lie.

    Attributes:
        shard: the synthesized audio.
        sources: shard of the source corpus by id of the utterances to be judged.
        corpus: folder of the source corpus.
        language: of all of them.
        task: copies have no F0 to compare.
        statistics: log-F0 mean and deviation by speaker, of the source and the target corpus (conversion only).
        f0: how F0 is tracked.
        evaluate: which judges listen.
        device: ``auto``, ``cpu`` or ``cuda``, of judges that are networks.
    """

    shard: Path
    sources: dict[str, str]
    corpus: Path
    language: str
    task: Literal["copy", "vocode", "resynthesis", "conversion"]
    statistics: tuple[LogStatistics, LogStatistics]
    f0: F0
    evaluate: Evaluate
    device: str


def utterance_parts(stage_params: Params, experiment: str, made: Path) -> dict[str, Part]:
    """Return the tasks of an experiment, by the names of their files in the order of the utterances.

    Raises:
        UserError: a source is not in the corpus any more, or F0 statistics cannot be read.
    """
    params, task = stage_params, stage_params.experiments[experiment].task
    source, target = params.source_of(experiment), Path("data") / params.roles.target
    where, languages = {}, {}
    for path in shard_paths(source / "audio"):
        for row in read_shard(path, ["id", "language"]):
            where[row["id"]], languages[row["id"]] = path.name, row["language"] or ""
    statistics = (_log_statistics(source), _log_statistics(target)) if task == "conversion" else ({}, {})
    settings = (params.f0, params.evaluate, params.runtime.device)
    parts: dict[str, Part] = {}
    for shard in shard_paths(made):
        rows = list(read_shard(shard, ["id", "source_id"]))
        if lost := [row["source_id"] for row in rows if row["source_id"] not in where]:
            raise UserError(f"{shard}: source '{lost[0]}' is not in {source}/audio; run 'dvc repro' again")
        for language, group in itertools.groupby(rows, key=lambda row: languages[row["source_id"]]):
            same = list(group)
            for start in range(0, len(same), UTTERANCES_PER_TASK):
                some = {row["id"]: where[row["source_id"]] for row in same[start : start + UTTERANCES_PER_TASK]}
                name = f"utterances-{len(parts):05d}.parquet"
                parts[name] = Part(shard, some, source, language, task, statistics, *settings)
    return parts


def judge_part(part: Part, output: Path) -> dict[str, Any]:
    """Write the judged rows of one part; the report counts answers found and made."""
    answers = Answers(ANSWERS)
    device = functools.partial(pick_device, part.device)
    evaluate = part.evaluate.hearing(part.language)
    texts = corpus_texts(part.corpus) if evaluate else ()
    unheard = dataclasses.replace(part.evaluate, digits="")  # without words to judge; F0 and quality need none
    panel = Panel(evaluate or unheard, dataclasses.asdict(part.f0), texts, answers, device)
    write_shard(output, _judged_rows(part, panel), UTTERANCES)
    return {"found": answers.found, "judged": answers.judged}


@functools.cache
def corpus_texts(corpus: Path) -> tuple[str, ...]:
    """Return every text of a corpus once, sorted."""
    return tuple(sorted({row["text"] for row in read_rows(corpus / "audio", ["text"]) if row["text"]}))


def _judged_rows(part: Part, panel: Panel) -> Iterator[Row]:
    references = {} if part.task == "copy" else {name: (heard, f0) for name, heard, f0 in _sources(part)}
    for row in read_shard(part.shard):
        if row["id"] not in part.sources:
            continue
        made = Recording(row["audio"], f"{part.shard}: utterance '{row['id']}'")
        judged: Row = {name: row[name] for name in ("id", "source_id", "source_speaker", "target_speaker")}
        judged["seconds"] = row["num_samples"] / SAMPLE_RATE
        reference = None if part.task == "copy" else _expected(part, row, *references[row["source_id"]])
        judged |= panel.judge(made, row["text"] if part.evaluate.hearing(part.language) else None, reference)
        yield {name: judged.get(name) for name in UTTERANCES.names}


def _expected(part: Part, row: Mapping[str, Any], recording: Recording, f0: np.ndarray) -> Reference:
    if part.task != "conversion":
        return Reference(recording, f0, repeated=True)
    source, target = part.statistics
    moved = move_contour(f0, source[row["source_speaker"]], target[row["target_speaker"]])
    return Reference(recording, moved, repeated=False)


def _sources(part: Part) -> Iterator[tuple[str, Recording, np.ndarray]]:
    """Yield the source utterances of the part's shards, and their F0 over the speech, padding cut off; by id."""
    for shard in sorted(set(part.sources.values())):
        audio, f0 = part.corpus / "audio" / shard, part.corpus / "f0" / shard
        for row, track in zip_shards(audio, f0, columns=[["id", "num_speech", "audio"], None]):
            recording = Recording(row["audio"], f"{audio}: utterance '{row['id']}'", row["num_speech"])
            yield row["id"], recording, track["f0"][: row["num_speech"] // F0_HOP]


def _log_statistics(corpus: Path) -> LogStatistics:
    path = corpus / "f0_stats.json"
    try:
        stats: Mapping[str, Any] = json.loads(path.read_text())
        return {name: (entry["log"]["mean"], entry["log"]["std"]) for name, entry in stats.items()}
    except (OSError, ValueError, KeyError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"{path}: no F0 statistics can be read ({reason}); run 'dvc repro' again") from None
