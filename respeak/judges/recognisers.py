"""The speech recogniser that parameters name; its answer is ``{"hypothesis": normalised words}``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from respeak.judges.judge_weights import files_digest, judge_weights
from speech.judges.cache import Answer, Heard, Judge, digest_texts
from speech.judges.settings import ASR

Device = Callable[[], str]


def recogniser(settings: ASR, texts: Sequence[str], device: Device = lambda: "cpu") -> Judge:
    """Return a recogniser by its settings.

    Args:
        settings: which, and the language it may hear.
        texts: the corpus's; what a language is made of. Without any there is nothing to score, so nothing to recognise
            either: no language, no error.
        device: gives the device, asked when the model is loaded.

    Raises:
        UserError: the model's weights are not there; names the file and its address.
    """
    mode = settings.mode if texts else "open"
    language = {"mode": mode, "texts": digest_texts(texts) if mode != "open" else ""}
    identity = {"judge": settings.judge, "model": settings.model, **language}
    if settings.judge == "pocketsphinx":
        return Judge(identity, lambda: _pocketsphinx(mode, texts), ("pocketsphinx",))
    if settings.judge == "torchaudio":
        from speech.judges.torchaudio_bundles import bundle_url, recogniser_bundle

        weights = judge_weights(bundle_url(recogniser_bundle(settings.model)), settings.weights, "evaluate.asr.weights")
        identity["weights"] = files_digest(weights)
        packages = ("torch", "torchaudio", "flashlight-text")
        return Judge(identity, lambda: _ctc(_bundle(settings.model, weights, device()), mode, texts), packages)
    from speech.judges.huggingface import HuggingFaceCTC, folder_files, model_folder

    folder = model_folder(settings.model, "evaluate.asr.model")
    identity["weights"] = files_digest(*folder_files(folder))
    packages = ("torch", "transformers", "flashlight-text")
    if settings.judge == "whisper":
        return Judge(identity, lambda: _whisper(folder, device()), packages)
    return Judge(identity, lambda: _ctc(HuggingFaceCTC(folder, device()), mode, texts), packages)


def _pocketsphinx(mode: Any, texts: Sequence[str]) -> Callable[[Heard], Answer]:
    from speech.judges.asr import Pocketsphinx

    judge = Pocketsphinx(mode, texts)
    return lambda heard: {"hypothesis": judge.transcribe(heard.wave)}


def _bundle(name: str, weights: Path, device: str) -> Any:
    from speech.judges.torchaudio_bundles import BundleCTC, recogniser_bundle

    return BundleCTC(recogniser_bundle(name), weights, device)


def _ctc(model: Any, mode: str, texts: Sequence[str]) -> Callable[[Heard], Answer]:
    from speech.judges.ctc import LexiconDecoder, greedy, spell

    if mode != "open":
        decode = LexiconDecoder(texts, model.tokens, model.blank, with_lm=mode == "lm")
        return lambda heard: {"hypothesis": decode(model.emissions(heard.wave))}
    return lambda heard: {
        "hypothesis": spell(greedy(model.emissions(heard.wave), model.tokens, model.blank), model.special)
    }


def _whisper(folder: Path, device: str) -> Callable[[Heard], Answer]:
    from speech.judges.huggingface import Whisper

    judge = Whisper(folder, device)
    return lambda heard: {"hypothesis": judge.transcribe(heard.wave)}
