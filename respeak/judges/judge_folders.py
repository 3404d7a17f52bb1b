"""Judgement of folders of recordings that anybody's system made, with or without references, texts or a meant voice.

Recordings, references and texts belong together by name: that of the file without suffix. Recordings may have any rate
and format; they are brought to 16 kHz mono and one peak, as recordings of the corpora are, and are not cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from respeak.judges.panel import Panel, Reference, Row
from respeak.judges.speaker_judge import speaker_judge
from respeak.pairs import SUFFIXES
from speech.audio.decode import IsolatedDecoder
from speech.audio.waveforms import encode_audio, resample
from speech.corpora.splits import utterance_name
from speech.errors import AudioError, UserError
from speech.judges.cache import Answers, Recording
from speech.judges.settings import Evaluate
from speech.pitch import extract_f0
from speech.rates import SAMPLE_RATE

PEAK = 0.95  # the audio stage's
UTTERANCES_PER_TASK = 4


@dataclass(frozen=True)
class Task:
    """The recordings that one task judges, and with what: plain data that travels to a worker process.

    Attributes:
        recordings: what a system made, by name.
        references: recordings that say the same in the same voice, by name; where there is none, nothing is compared.
        texts: what each should say, by name.
        language: every text, of which recognisers make their language.
        voice: ``(D,)`` embedding of the voice that is meant; None: the reference's.
        evaluate: the judges.
        f0: keyword arguments of :func:`speech.pitch.extract_f0`.
        answers: folder where answers are kept; None keeps nothing.
        device: where judges that are networks run.
    """

    recordings: Mapping[str, Path]
    references: Mapping[str, Path]
    texts: Mapping[str, str]
    language: tuple[str, ...]
    voice: np.ndarray | None
    evaluate: Evaluate
    f0: Mapping[str, Any]
    answers: Path | None
    device: str


def find_recordings(folder: Path) -> dict[str, Path]:
    """Find the recordings in a folder and below it, by name, sorted.

    Raises:
        UserError: no such folder, no recording, or two of one name.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give a folder of recordings")
    found: dict[str, Path] = {}
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file()):
        name = utterance_name(path.name)
        if name in found:
            raise UserError(f"{found[name]} and {path} are both called {name}: texts and references could be either's")
        found[name] = path
    if not found:
        raise UserError(f"{folder}: no recordings ({', '.join(SUFFIXES)}) in this folder or below it")
    return dict(sorted(found.items()))


def read_texts(path: Path) -> dict[str, str]:
    """Read texts by name: lines of ``name|text`` (the last field), ``name<TAB>text`` or ``name text``.

    Raises:
        UserError: the file cannot be read, or a line has no text.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); give lines of name|text") from None
    texts = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        separator = next((sign for sign in ("|", "\t") if sign in line), None)
        name, *fields = line.split(separator) if separator else line.split(None, 1)
        if not fields:
            raise UserError(f"{path}: line {number} has a name but no text; give lines of name|text")
        texts[utterance_name(name)] = fields[-1].strip()
    return texts


def embed_voice(source: Path, answers: Answers, evaluate: Evaluate, device: str = "cpu") -> np.ndarray:
    """Return the mean embedding ``(D,)`` of a recording, or of a folder of one speaker's.

    Raises:
        UserError: there is no recording, one cannot be read, or the judge's weights are not there.
    """
    paths = [source] if source.is_file() else list(find_recordings(source).values())
    judge = speaker_judge(evaluate, lambda: device)
    with IsolatedDecoder() as decoder:
        vectors = [answers.ask(judge, _read(decoder, path))["embedding"] for path in paths]
    return np.mean(vectors, axis=0)


def judge_all(task: Task, workers: int) -> tuple[list[Row], list[str]]:
    """Return rows of :data:`speech.metrics.summary.UTTERANCES` in the recordings' order, and why some were skipped."""
    names = list(task.recordings)
    parts = [names[i : i + UTTERANCES_PER_TASK] for i in range(0, len(names), UTTERANCES_PER_TASK)]
    if workers == 1:
        found: Iterable[tuple[list[Row], list[str]]] = (judge_some(task, part) for part in parts)
        return _joined(found)
    # Spawned: a fork of a process that has threads of torch's may hang.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return _joined(pool.map(judge_some, [task] * len(parts), parts))


def judge_some(task: Task, names: Sequence[str]) -> tuple[list[Row], list[str]]:
    """Judge the recordings of these names, in a worker process."""
    answers = Answers(task.answers)
    panel = Panel(task.evaluate, dict(task.f0), task.language, answers, lambda: task.device)
    rows, skipped = [], []
    with IsolatedDecoder() as decoder:
        for name in names:
            try:
                rows.append(_judge(task, name, panel, decoder))
            except AudioError as error:
                skipped.append(str(error))
    return rows, skipped


def _judge(task: Task, name: str, panel: Panel, decoder: IsolatedDecoder) -> Row:
    made = _read(decoder, task.recordings[name])
    row: Row = {"id": name, "source_id": name, "seconds": len(made.wave) / SAMPLE_RATE}
    reference = None
    if name in task.references:
        heard = _read(decoder, task.references[name])
        reference = Reference(heard, extract_f0(heard.wave, **task.f0), repeated=True)
    row |= panel.judge(made, task.texts.get(name), reference)
    judge = speaker_judge(task.evaluate, lambda: task.device)
    meant = task.voice
    if meant is None and reference is not None:
        meant = np.array(panel.answers.ask(judge, reference.recording)["embedding"])
    if meant is not None:
        vector = np.array(panel.answers.ask(judge, made)["embedding"])
        length = float(np.linalg.norm(vector) * np.linalg.norm(meant))
        row["speaker_similarity"] = 100 * float(vector @ meant) / length if length else None
    return row


def _read(decoder: IsolatedDecoder, path: Path) -> Recording:
    wave, rate = decoder.read(path)
    if not np.any(wave) or not np.all(np.isfinite(wave)):
        raise AudioError(f"{path}: is empty, silent or not finite")
    wave = resample(wave, rate)
    return Recording(encode_audio(PEAK * wave / np.abs(wave).max(), "flac"), str(path))


def _joined(found: Iterable[tuple[list[Row], list[str]]]) -> tuple[list[Row], list[str]]:
    rows, skipped = [], []
    for some, reasons in found:
        rows += some
        skipped += reasons
    return rows, skipped
