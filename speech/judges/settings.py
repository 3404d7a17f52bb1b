"""Section ``evaluate`` of the parameters: which judges listen, and how they are set."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

# What each recogniser can be told of the language.
MODES = {
    "pocketsphinx": ("open", "lm", "words", "sentences"),
    "torchaudio": ("open", "lm", "words"),
    "ctc": ("open", "lm", "words"),
    "whisper": ("open",),
}


@dataclass(frozen=True)
class ASR:
    """The speech recogniser and the language it may hear.

    ``model``: a bundle of torchaudio's, or (ctc, whisper) a Hugging Face folder or name. ``weights``: torchaudio's
    file, where it is not in the cache.
    """

    judge: Literal["pocketsphinx", "torchaudio", "ctc", "whisper"]
    mode: Literal["open", "lm", "words", "sentences"]
    model: str = ""
    weights: str = ""

    def __post_init__(self) -> None:
        if self.mode not in MODES[self.judge]:
            raise ValueError(f"judge {self.judge} has no mode {self.mode}, only {', '.join(MODES[self.judge])}")
        if (self.judge == "pocketsphinx") == bool(self.model):
            wanted = "brings its own model: leave it empty" if self.model else "needs the name of a model"
            raise ValueError(f"model: judge {self.judge} {wanted}")


@dataclass(frozen=True)
class Phonemes:
    """The phoneme recogniser: pocketsphinx, a CTC model of IPA phonemes (``model``: a Hugging Face folder), or none."""

    judge: Literal["none", "pocketsphinx", "ctc"]
    model: str = ""

    def __post_init__(self) -> None:
        if (self.judge == "ctc") != bool(self.model):
            wanted = "needs the name of a model" if self.judge == "ctc" else "takes no model: leave it empty"
            raise ValueError(f"model: judge {self.judge} {wanted}")


Quality = Literal["stoi", "pesq", "mcd", "squim", "dnsmos", "utmos"]
Speakers = Literal["resemblyzer", "ecapa", "xvector"]


@dataclass(frozen=True)
class Evaluate:
    """The judges.

    ``asr_of``: by language (``fr``), recognisers of what ``asr`` does not hear. ``quality``: judges of quality;
    ``weights``: by the names of judges of quality and of speakers, files that are not in the cache. ``digits``: folder
    of a trained digit classifier; nothing, or a .py file, stands for none.
    """

    asr: ASR
    phonemes: Phonemes
    asr_of: dict[str, ASR]
    quality: list[Quality]
    weights: dict[str, str]
    speaker_judge: Speakers
    speaker_seconds: float
    f0_tolerance: float
    f0_alignment: Literal["none", "lag", "dtw"]
    bootstrap: int
    digits: str = ""

    def __post_init__(self) -> None:
        for name in ("speaker_seconds", "f0_tolerance", "bootstrap"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")
        known = (*get_args(Quality), *get_args(Speakers))
        if unknown := set(self.weights) - set(known):
            names = ", ".join(known)
            raise ValueError(f"weights: {min(unknown)} is no judge of quality or of speakers; known are {names}")

    def hearing(self, language: str) -> Evaluate | None:
        """Return the judges with the recogniser of a language; None where words in it cannot be judged.

        Pocketsphinx hears English alone; what a network hears its name must tell. Phonemes and digits are judged in
        English alone.
        """
        asr = self.asr_of.get(language, self.asr)
        if language.split("-")[0] in ("", "en"):
            return replace(self, asr=asr)
        # The phonemes that a text should have are espeak-ng's of English.
        return None if asr.judge == "pocketsphinx" else replace(self, asr=asr, phonemes=Phonemes("none"), digits="")
