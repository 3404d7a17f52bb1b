"""The phoneme recogniser that parameters name, beside espeak-ng's phonemes of the text.

Its answer is ``{"phones_said": ..., "phones_heard": ...}``, phones of :mod:`speech.phonemes` separated by blanks.
"""

from __future__ import annotations

import atexit
import functools
from collections.abc import Callable
from pathlib import Path

from respeak.judges.judge_weights import files_digest
from respeak.judges.recognisers import Device
from speech.judges.cache import Answer, Heard, Judge
from speech.judges.settings import Phonemes
from speech.phonemes import from_ipa


def phoneme_judge(settings: Phonemes, device: Device = lambda: "cpu") -> Judge | None:
    """Return the judge of a recording and its normalised English text, by its settings; None where none is wanted.

    Raises:
        UserError: the model's weights are not there; names the folder and its address.
    """
    if settings.judge == "none":
        return None
    identity = {"judge": f"phonemes, {settings.judge}", "model": settings.model}
    if settings.judge == "pocketsphinx":
        return Judge(identity, lambda: _against_text(_allphone()), ("pocketsphinx", "espeakng-loader"))
    from speech.judges.huggingface import folder_files, model_folder

    folder = model_folder(settings.model, "evaluate.phonemes.model")
    identity["weights"] = files_digest(*folder_files(folder))
    packages = ("torch", "transformers", "espeakng-loader")
    return Judge(identity, lambda: _against_text(_ctc(folder, device())), packages)


def _against_text(listen: Callable[[Heard], list[str]]) -> Callable[[Heard, str], Answer]:
    pronounce = _pronouncer()

    def judge(heard: Heard, text: str) -> Answer:
        phones = from_ipa(pronounce(text))
        return {"phones_said": " ".join(phones), "phones_heard": " ".join(listen(heard))}

    return judge


@functools.cache
def _pronouncer() -> Callable[[str], list[str]]:
    from speech.corpora.espeak import Pronouncer

    pronouncer = Pronouncer()
    atexit.register(pronouncer.close)
    return pronouncer


def _allphone() -> Callable[[Heard], list[str]]:
    from speech.judges.allphone import Allphone

    judge = Allphone()
    return lambda heard: judge.phones(heard.wave)


def _ctc(folder: Path, device: str) -> Callable[[Heard], list[str]]:
    from speech.judges.ctc import WORD_END, greedy
    from speech.judges.huggingface import HuggingFaceCTC

    model = HuggingFaceCTC(folder, device)
    silent = {WORD_END, *model.special}

    def listen(heard: Heard) -> list[str]:
        best = greedy(model.emissions(heard.wave), model.tokens, model.blank)
        return from_ipa(token for token in best if token not in silent)

    return listen
