"""Recognisers of the Hugging Face hub from a local folder: CTC heads on wav2vec 2.0, HuBERT and kin, and Whisper.

Only weights in safetensors are read, no code that lies beside them is run, and nothing is fetched: a model is named by
its folder, or by its hub name if the hub's own cache has it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from speech.errors import UserError
from speech.judges.ctc import WORD_END
from speech.rates import SAMPLE_RATE
from speech.text import normalise_text

SHORTEST = 400  # samples: what the first output frame of wav2vec 2.0 sees
WHISPER_WINDOW = 30 * SAMPLE_RATE
# Tokens that are no sounds, as <pad>, [UNK] or </s>.
_SPECIAL = re.compile(r"(<.*>|\[.*\])")


def model_folder(name: str, key: str) -> Path:
    """Return the folder of a model.

    Args:
        name: a folder, or a hub name whose files the hub's cache holds.
        key: the parameter that names it, for messages.

    Raises:
        UserError: neither.
    """
    if Path(name).is_dir():
        return Path(name)
    with contextlib.suppress(ImportError, ValueError, OSError):
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(name, local_files_only=True))
    raise UserError(
        f"{key}: {name}: no such folder, and not in the cache of the hub; fetch https://huggingface.co/{name} "
        f"('hf download {name}'), or name the folder where it lies"
    )


class HuggingFaceCTC:
    """A CTC model as emissions.

    Args:
        folder: ``config.json``, ``preprocessor_config.json``, ``vocab.json`` and weights in safetensors.
        device: where it runs.

    Attributes:
        tokens: by index; the sign between words is ``|`` whatever the model calls it.
        blank: index of the blank.
        special: tokens that are no sounds.

    Raises:
        UserError: transformers is not installed, or the folder holds no such model.
    """

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        transformers = _transformers()
        with _explained(folder):
            self._features = transformers.AutoFeatureExtractor.from_pretrained(folder, local_files_only=True)
            self._model = transformers.AutoModelForCTC.from_pretrained(
                folder, local_files_only=True, use_safetensors=True
            )
            self.tokens = _vocabulary(folder)
        self._model = self._model.eval().to(device)
        self._device = device
        self.blank = int(self._model.config.pad_token_id or 0)
        self.special = [token for token in self.tokens if _SPECIAL.fullmatch(token)]

    def emissions(self, wave: np.ndarray) -> np.ndarray:
        """Compute log-probabilities ``(T, V)`` float32 of a recording ``(N,)`` at 16 kHz, a frame every 20 ms."""
        import torch

        wave = np.pad(wave, (0, max(0, SHORTEST - len(wave))))
        inputs = self._features(wave, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        with torch.inference_mode():
            logits = self._model(inputs.input_values.to(self._device)).logits[0]
        return logits.log_softmax(-1).float().cpu().numpy()


class Whisper:
    """Whisper (Radford et al. 2022), greedy, in English.

    Args:
        folder: as the hub has it, weights in safetensors.
        device: where it runs.

    Raises:
        UserError: transformers is not installed, or the folder holds no such model.
    """

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        transformers = _transformers()
        with _explained(folder):
            self._processor = transformers.WhisperProcessor.from_pretrained(folder, local_files_only=True)
            self._model = transformers.WhisperForConditionalGeneration.from_pretrained(
                folder, local_files_only=True, use_safetensors=True
            )
        self._model = self._model.eval().to(device)
        self._device = device

    def transcribe(self, wave: np.ndarray) -> str:
        """Recognise normalised words in ``(N,)`` float32 at 16 kHz; more than 30 s are heard window by window."""
        import torch

        longer = len(wave) > WHISPER_WINDOW
        fitting = {"truncation": False, "padding": "longest", "return_attention_mask": True} if longer else {}
        inputs = self._processor(wave, sampling_rate=SAMPLE_RATE, return_tensors="pt", **fitting).to(self._device)
        # English-only models know no language tokens.
        multilingual = getattr(self._model.generation_config, "is_multilingual", False)
        language = {"language": "en", "task": "transcribe"} if multilingual else {}
        with torch.inference_mode():
            ids = self._model.generate(**inputs, **language, do_sample=False, num_beams=1, return_timestamps=longer)
        return normalise_text(self._processor.batch_decode(ids, skip_special_tokens=True)[0])


def _vocabulary(folder: Path) -> list[str]:
    """Return the tokens in the order of their indices."""
    path = folder / "vocab.json"
    indices: dict[str, int] = json.loads(path.read_text(encoding="utf-8"))
    if not all(isinstance(index, int) for index in indices.values()):
        raise ValueError(f"{path.name} holds more than one language; keep one of them")
    settings = folder / "tokenizer_config.json"
    stated = json.loads(settings.read_text(encoding="utf-8")) if settings.is_file() else {}
    between = stated.get("word_delimiter_token") or WORD_END
    tokens = sorted(indices, key=indices.__getitem__)
    if sorted(indices.values()) != list(range(len(tokens))):
        raise ValueError(f"{path.name} does not number its tokens from 0 on")
    return [WORD_END if token == between else token for token in tokens]


def _transformers() -> Any:
    # Before the import: no call home, no lines of progress in a worker's log.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    try:
        import transformers
    except ImportError:
        raise UserError("evaluate: this judge needs transformers: pip install 'respeak[judges]'") from None
    transformers.utils.logging.disable_progress_bar()
    return transformers


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{folder}: holds no model that can be read as asked ({reason})") from None


def folder_files(folder: Path) -> Sequence[Path]:
    """Return the files of a model that decide what it answers."""
    return sorted(path for path in folder.iterdir() if path.suffix in (".json", ".safetensors", ".txt"))
