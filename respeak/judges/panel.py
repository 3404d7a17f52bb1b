"""The judges of single utterances, as parameters choose them: from recordings to the columns of ``utterances.parquet``.

Each judge's answer is kept by content (:mod:`speech.judges.cache`) and its model is loaded at the first question that
has no answer yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from respeak.judges.recognisers import Device, recogniser
from speech.judges.cache import Answer, Answers, Heard, Judge, Recording, package_version
from speech.judges.settings import Evaluate
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
        device: gives the device of judges that are networks, asked when one is loaded.

    Raises:
        UserError: a judge's weights are not there; names the file and its address.
    """

    def __init__(
        self,
        evaluate: Evaluate,
        f0: dict[str, Any],
        texts: Sequence[str],
        answers: Answers,
        device: Device = lambda: "cpu",
    ) -> None:
        self.answers = answers
        self.words = recogniser(evaluate.asr, texts, device)
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


def describe(evaluate: Evaluate, f0: dict[str, Any]) -> dict[str, str]:
    """Every judge in words, with its version and settings, for whoever reads the numbers later."""
    asr = evaluate.asr
    model = f" {asr.model}" if asr.model else ""
    packages = {"pocketsphinx": "pocketsphinx", "torchaudio": "torchaudio", "ctc": "transformers"}
    version = package_version(packages.get(asr.judge, "transformers"))
    resemblyzer = package_version("Resemblyzer")
    pitch = f"{f0['method']}, {f0['floor_hz']:g} to {f0['ceil_hz']:g} Hz"
    return {
        "asr": f"{asr.judge} {version}{model}, mode {asr.mode}",
        "f0": f"{pitch}, gross above {100 * evaluate.f0_tolerance:g} %",
        "speaker": f"{evaluate.speaker_judge} {resemblyzer}, joined to {evaluate.speaker_seconds:g} s",
    }
