"""Sentences for the page's players, from what the experiments synthesized and the judges wrote."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from respeak.page.clips import Clip, Sentence, choose, groups
from speech.pitch import extract_f0
from speech.rates import SAMPLE_RATE
from speech.storage.shards import read_rows, read_shard, shard_paths

if TYPE_CHECKING:
    from stages.report import Params

HEARD = ("hypothesis", "word_errors", "words")


def read_sentences(
    params: Params, project: Path, labels: Mapping[str, str], verdicts: Mapping[str, str]
) -> list[Sentence]:
    """Read up to ``report.sentences`` of each group of experiments that have the same ones.

    Those that the recogniser hears best in the recordings come first, as :func:`respeak.page.clips.choose` has it. What
    would go over ``report.max_audio_mb`` is left out, and the next one tried.

    Args:
        params: which corpora and how much.
        project: the folder that ``synthesize``, ``evaluate`` and ``data`` are in.
        labels: what each experiment is called, of those that are to be heard.
        verdicts: what tables call an experiment.
    """
    offers = {name: _source_sentences(project / "synthesize" / name) for name in labels}
    left = int(params.report.max_audio_mb * 1e6)
    kept: list[Sentence] = []
    for names, ids in groups(offers):
        wrong = _wrong(params, project, [name for name in names if params.experiments[name].task == "copy"])
        offered = [replace(offers[names[0]][id_], wrong=wrong.get(id_)) for id_ in ids]
        candidates = choose(offered, 3 * params.report.sentences)
        wanted = {sentence.id: sentence for sentence in candidates}
        for name in names:
            for id_, clip in _clips(params, project, name, wanted):
                wanted[id_].clips.append(Clip(labels[name], **clip, verdict=verdicts.get(name, "")))
        fitting: list[Sentence] = []
        for sentence in candidates:
            if len(fitting) < params.report.sentences and sentence.size <= left:
                fitting.append(sentence)
                left -= sentence.size
        kept += fitting
    _add_contours(params, project / "data" / params.roles.source, {sentence.id: sentence for sentence in kept})
    return kept


def _source_sentences(made: Path) -> dict[str, Sentence]:
    """Return the source utterances of an experiment, by id."""
    return {
        row["source_id"]: Sentence(
            row["source_id"], row["source_speaker"], row["text"] or "", row["num_samples"] / SAMPLE_RATE
        )
        for row in read_rows(made, ["source_id", "source_speaker", "text", "num_samples"])
    }


def _wrong(params: Params, project: Path, copies: Sequence[str]) -> dict[str, float]:
    """Return the share of words that the recogniser gets wrong in recordings, by id, of those that have words."""
    columns = ["source_id", "word_errors", "words"]
    rows = [row for name in copies for row in read_shard(_judged(params, project, name), columns)]
    return {row["source_id"]: row["word_errors"] / row["words"] for row in rows if row["words"]}


def _judged(params: Params, project: Path, experiment: str) -> Path:
    return project / "evaluate" / params.experiments[experiment].table / experiment / "utterances.parquet"


def _clips(
    params: Params, project: Path, experiment: str, wanted: Mapping[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield source id and the fields of a clip for each wanted sentence; of a conversion's voices the first."""
    judged = read_shard(_judged(params, project, experiment), ["id", "source_id", *HEARD])
    heard = {row["id"]: [row[name] for name in HEARD] for row in judged if row["source_id"] in wanted}
    seen = set()
    for row in _rows(project / "synthesize" / experiment, "source_id", wanted):
        if row["source_id"] not in seen:
            seen.add(row["source_id"])
            opinion = dict(zip(("heard", "errors", "words"), heard.get(row["id"], (None,) * 3), strict=True))
            yield row["source_id"], {"voice": row["target_speaker"], "audio": row["audio"], **opinion}


def _rows(directory: Path, key: str, wanted: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield rows whose ``key`` is wanted; of shards without one nothing but that column is read."""
    for shard in shard_paths(directory):
        if any(row[key] in wanted for row in read_shard(shard, [key])):
            yield from (row for row in read_shard(shard) if row[key] in wanted)


def _add_contours(params: Params, corpus: Path, wanted: Mapping[str, Sentence]) -> None:
    """Add what is drawn beside the audio: units and F0 of the source, F0 of the clips."""
    for row in _rows(corpus / "units", "id", wanted):
        sentence = wanted[row["id"]]
        sentence.units = np.asarray(row["units"])[: round(sentence.seconds * 50)]
    for row in _rows(corpus / "f0", "id", wanted):
        sentence = wanted[row["id"]]
        sentence.f0 = np.asarray(row["f0"])[: round(sentence.seconds * 200)]
    for sentence in wanted.values():
        sentence.clips = [replace(clip, f0=extract_f0(clip.wave, **asdict(params.f0))) for clip in sentence.clips]
