"""The judges of single utterances, as parameters choose them: from recordings to the columns of ``utterances.parquet``.

Each judge's answer is kept by content (:mod:`speech.judges.cache`) and its model is loaded at the first question that
has no answer yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from speech.judges.asr import Pocketsphinx
from speech.judges.cache import Answer, Answers, Heard, Judge, Recording, digest_texts
from speech.judges.settings import ASR, Evaluate
from speech.metrics.f0 import compare_f0
from speech.metrics.words import count_errors
from speech.pitch import extract_f0
from speech.text import normalise_text

Row = dict[str, Any]


class Panel:
    """Judges utterances one at a time.

    Args:
        evaluate: which judges, and how they are set.
        f0: keyword arguments of :func:`speech.pitch.extract_f0`.
        texts: the corpus's texts, of which grammars are made; each once, sorted.
        answers: where answers are kept.
    """

    def __init__(self, evaluate: Evaluate, f0: dict[str, Any], texts: Sequence[str], answers: Answers) -> None:
        self.answers = answers
        self.words = recogniser(evaluate.asr, texts)
        self.pitch = f0_judge(f0, evaluate.f0_tolerance)

    def judge(self, made: Recording, text: str | None, expected_f0: np.ndarray | None = None) -> Row:
        """Everything that can be said of one utterance.

        Args:
            made: the utterance as a system spoke it.
            text: what it should say; without it words are not judged.
            expected_f0: ``(N,)`` F0 in Hz every 5 ms that it should have, 0 where unvoiced; None leaves F0 out.

        Returns:
            Columns of :data:`speech.metrics.summary.UTTERANCES`; what was not judged is missing.
        """
        row: Row = {}
        reference = normalise_text(text or "")
        if reference:
            hypothesis = self.answers.ask(self.words, made)["hypothesis"]
            row |= {"reference": reference, "hypothesis": hypothesis, **asdict(count_errors(reference, hypothesis))}
        if expected_f0 is not None:
            row |= self.answers.ask(self.pitch, made, expected_f0)
        return row


def recogniser(settings: ASR, texts: Sequence[str]) -> Judge:
    """The speech recogniser; its answer is ``{"hypothesis": normalised words}``.

    Args:
        settings: which, and the language it may hear.
        texts: what a grammar is made of.
    """
    # Without any text there is nothing to score, so nothing to recognise either: no grammar, no error.
    mode = settings.mode if texts else "open"
    identity = {"judge": settings.judge, "mode": mode, "texts": digest_texts(texts) if mode != "open" else ""}

    def load() -> Any:
        judge = Pocketsphinx(mode, texts)
        return lambda heard: {"hypothesis": judge.transcribe(heard.wave)}

    return Judge(identity, load, ("pocketsphinx",))


def f0_judge(f0: dict[str, Any], tolerance: float) -> Judge:
    """F0 against an expected contour; its answer are the counts of :class:`speech.metrics.f0.F0Counts`."""

    def listen(heard: Heard, expected: np.ndarray) -> Answer:
        return asdict(compare_f0(expected, extract_f0(heard.wave, **f0), tolerance=tolerance))

    return Judge({"judge": "f0", **f0, "tolerance": tolerance}, lambda: listen, ("pyworld",))


def speaker_judge(name: str) -> Judge:
    """Speaker embeddings; its answer is ``{"embedding": [...]}``."""

    def load() -> Any:
        from speech.judges.speaker import embed

        return lambda heard: {"embedding": embed(heard.wave).tolist()}

    return Judge({"judge": name}, load, ("Resemblyzer", "webrtcvad", "torch"))
