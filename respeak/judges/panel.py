"""The judges of single utterances, as parameters choose them: from recordings to the columns of ``utterances.parquet``.

Each judge's answer is kept by content (:mod:`speech.judges.cache`) and its model is loaded at the first question that
has no answer yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from respeak.judges.digit_judge import digit_judge, names_classifier
from respeak.judges.phoneme_judge import phoneme_judge
from respeak.judges.quality_judges import PACKAGES, quality_judges
from respeak.judges.recognisers import Device, recogniser
from respeak.judges.speaker_judge import describe_speaker_judge
from speech.judges.cache import Answer, Answers, Heard, Judge, Recording, package_version
from speech.judges.digit_mel import WORDS as DIGITS
from speech.judges.settings import Evaluate
from speech.metrics.alignment import Alignment, align, take
from speech.metrics.f0_metrics import compare_f0, f0_correlation
from speech.metrics.phoneme_metrics import count_phoneme_errors
from speech.metrics.words import count_errors
from speech.pitch import extract_f0
from speech.text import normalise_text

Row = dict[str, Any]


@dataclass(frozen=True)
class Reference:
    """The recording that an output is made from.

    Attributes:
        recording: it.
        f0: ``(N,)`` F0 in Hz every 5 ms that the output should have, 0 where unvoiced.
        repeated: whether the output should sound the same, and not only say the same.
    """

    recording: Recording
    f0: np.ndarray
    repeated: bool


class Panel:
    """A panel of judges, which hears one utterance at a time.

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
        self.phonemes = phoneme_judge(evaluate.phonemes, device)
        self.digits = digit_judge(evaluate.digits, device)
        self.pitch = f0_judge(f0, evaluate.f0_tolerance, evaluate.f0_alignment)
        self.quality = quality_judges(evaluate, device)

    def judge(self, made: Recording, text: str | None, reference: Reference | None = None) -> Row:
        """Judge one utterance in every way that the parameters ask for.

        Args:
            made: the utterance as a system spoke it.
            text: what it should say; without it words are not judged, and the digit classifier takes it for a digit.
            reference: what it was made from; without it F0, and quality against a reference, are not judged.

        Returns:
            Columns of :data:`speech.metrics.summary.UTTERANCES`; what was not judged is missing.
        """
        row: Row = {}
        wanted = normalise_text(text or "")
        if wanted:
            hypothesis = self.answers.ask(self.words, made)["hypothesis"]
            row |= {"reference": wanted, "hypothesis": hypothesis, **asdict(count_errors(wanted, hypothesis))}
            row |= self._phonemes(made, wanted)
        if self.digits is not None and (not wanted or wanted in DIGITS):
            row |= self._digits(self.digits, made, wanted)
        if reference is not None:
            row |= self.answers.ask(self.pitch, made, reference.recording, reference.f0)
        for judge in self.quality:
            if not judge.settings["against"]:
                row |= self.answers.ask(judge, made)
            elif reference is not None and reference.repeated:
                row |= self.answers.ask(judge, made, reference.recording)
        return row

    def _digits(self, judge: Judge, made: Recording, wanted: str) -> Row:
        answer = self.answers.ask(judge, made)
        vectors = ("digit_log_probabilities", "digit_features")
        packed = {name: np.array(answer[name], "<f4").tobytes() for name in vectors}
        return {**answer, **packed, "digits_right": int(answer["digit_heard"] == wanted) if wanted else None}

    def _phonemes(self, made: Recording, text: str) -> Row:
        if self.phonemes is None:
            return {}
        answer = self.answers.ask(self.phonemes, made, text)
        reference, hypothesis = (answer[name].split() for name in ("phones_said", "phones_heard"))
        return {**answer, **asdict(count_phoneme_errors(reference, hypothesis))} if reference else {}


def f0_judge(f0: dict[str, Any], tolerance: float, alignment: Alignment) -> Judge:
    """Return the judge of F0 against a contour: `F0Counts` of the frames, ``f0_lag_ms`` and ``f0_pcc``."""

    def listen(heard: Heard, source: Heard, expected: np.ndarray) -> Answer:
        here, there, lag = align(source.wave, heard.wave, alignment)
        wanted, found = take(expected, here), take(extract_f0(heard.wave, **f0), there)
        counts = asdict(compare_f0(wanted, found, tolerance=tolerance))
        return {**counts, "f0_lag_ms": 5.0 * lag, "f0_pcc": f0_correlation(wanted, found)}

    settings = {"judge": "f0", **f0, "tolerance": tolerance, "alignment": alignment}
    return Judge(settings, lambda: listen, ("pyworld",))


def describe(evaluate: Evaluate, f0: dict[str, Any]) -> dict[str, str]:
    """Describe every judge in words, with its version and settings, for whoever reads the numbers later."""
    asr = evaluate.asr
    model = f" {asr.model}" if asr.model else ""
    packages = {"pocketsphinx": "pocketsphinx", "torchaudio": "torchaudio", "ctc": "transformers"}
    version = package_version(packages.get(asr.judge, "transformers"))
    pitch = f"{f0['method']}, {f0['floor_hz']:g} to {f0['ceil_hz']:g} Hz"
    digits = {"digits": f"the classifier in {evaluate.digits}"} if names_classifier(evaluate.digits) else {}
    return {
        "asr": f"{asr.judge} {version}{model}, mode {asr.mode}",
        "phonemes": _describe_phonemes(evaluate),
        **digits,
        "f0": f"{pitch}, aligned by {evaluate.f0_alignment}, gross above {100 * evaluate.f0_tolerance:g} %",
        "quality": ", ".join(f"{name} {package_version(PACKAGES[name])}" for name in evaluate.quality) or "none",
        "speaker": f"{describe_speaker_judge(evaluate.speaker_judge)}, joined to {evaluate.speaker_seconds:g} s",
    }


def _describe_phonemes(evaluate: Evaluate) -> str:
    judge, model = evaluate.phonemes.judge, evaluate.phonemes.model
    if judge == "none":
        return "none"
    version = package_version("pocketsphinx" if judge == "pocketsphinx" else "transformers")
    pronouncer = f"espeak-ng {package_version('espeakng-loader')}"
    return f"{judge} {version}{f' {model}' if model else ''}, against phonemes of the text by {pronouncer}"
