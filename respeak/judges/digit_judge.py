"""The judge of digits: the classifier of stage ``train_digit_classifier``, and its impression of real recordings.

Its answer is ``{"digit_heard": word, "digit_log_probabilities": (10,), "digit_features": (D,)}``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from respeak.folders import CONFIG, read_tensors, read_yaml, save_state
from respeak.judges.judge_weights import files_digest
from speech.errors import UserError
from speech.judges.cache import Answer, Heard, Judge
from speech.judges.digit_mel import WORDS, digit_mel, one_second
from speech.metrics.frechet import Gaussian, fit_gaussian
from speech.metrics.inception import RealDigits
from speech.storage.files import atomic_path, write_text

if TYPE_CHECKING:
    from models.judges.resnext import DigitClassifier

MODEL = "model.safetensors"
REAL = "real.safetensors"
BATCH = 64


@dataclass(frozen=True)
class Impressions:
    """A classifier's impressions of B recordings.

    Attributes:
        logs: ``(B, 10)`` float32 natural logarithms of the probabilities of zero to nine.
        features: ``(B, D)`` float32, what its last layer sees.
    """

    logs: np.ndarray
    features: np.ndarray

    @property
    def digits(self) -> np.ndarray:
        """The likeliest digit of each, ``(B,)``."""
        return self.logs.argmax(axis=1)


def save_classifier(folder: Path, sizes: Mapping[str, Any], model: DigitClassifier) -> None:
    """Write a trained classifier: its sizes and its weights."""
    with atomic_path(folder / MODEL) as temporary:
        save_state(temporary, model.state_dict())
    write_text(folder / CONFIG, yaml.safe_dump({"model": dict(sizes)}, sort_keys=True))


def names_classifier(folder: str) -> bool:
    """Return whether ``evaluate.digits`` names a classifier: nothing, or a .py file, stands for none."""
    return bool(folder) and not folder.endswith(".py")


class DigitJudge:
    """A digit classifier loaded from its folder.

    Raises:
        UserError: a file is missing or damaged, or weights do not fit the configuration.
    """

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        import torch

        from models.judges.resnext import DigitClassifier

        model = DigitClassifier(**read_yaml(folder / CONFIG)["model"])
        try:
            model.load_state_dict({k: torch.from_numpy(v) for k, v in read_tensors(folder / MODEL).items()})
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:160]
            raise UserError(f"{folder / MODEL}: not the weights of {CONFIG} ({reason}); train it again") from None
        self._model, self._device = model.eval().to(device), device

    def __call__(self, waves: Sequence[np.ndarray]) -> Impressions:
        """Classify recordings, each ``(T,)`` float32 at 16 kHz, ``T > 0``; the middle second of what is longer."""
        import torch

        logs, features = [], []
        with torch.inference_mode():
            for start in range(0, len(waves), BATCH):
                seconds = np.stack([one_second(wave) for wave in waves[start : start + BATCH]]).astype(np.float32)
                seen = self._model.features(digit_mel(torch.from_numpy(seconds).to(self._device)))
                features.append(seen.cpu().numpy())
                logs.append(self._model.classes(seen).log_softmax(1).cpu().numpy())
        return Impressions(np.concatenate(logs), np.concatenate(features))


def save_real(folder: Path, impressions: Impressions) -> None:
    """Write what a classifier makes of real recordings, which generated ones are compared with."""
    from safetensors.numpy import save_file

    features = fit_gaussian(impressions.features)
    probabilities = np.exp(impressions.logs.astype(np.float64)).mean(axis=0)
    with atomic_path(folder / REAL) as temporary:
        save_file({"mean": features.mean, "root": features.root, "probabilities": probabilities}, temporary)


def read_real(folder: str) -> RealDigits | None:
    """Read what `save_real` wrote; return None where the parameters name no classifier.

    Raises:
        UserError: the file is missing or damaged.
    """
    if not names_classifier(folder):
        return None
    found = read_tensors(Path(folder) / REAL)
    return RealDigits(Gaussian(found["mean"], found["root"]), found["probabilities"])


def digit_judge(folder: str, device: Callable[[], str] = lambda: "cpu") -> Judge | None:
    """Return the judge in ``folder``, or None where the parameters name none.

    Raises:
        UserError: there is none in the folder.
    """
    if not names_classifier(folder):
        return None
    files = [Path(folder) / name for name in (CONFIG, MODEL, REAL)]
    if lacking := [file for file in files if not file.is_file()]:
        raise UserError(
            f"evaluate.digits: {lacking[0]}: not found; run 'dvc repro train_digit_classifier', or leave it empty"
        )

    def load() -> Callable[[Heard], Answer]:
        judge = DigitJudge(Path(folder), device())
        return lambda heard: _answer(judge([heard.wave]))

    return Judge({"judge": "digits", "weights": files_digest(*files)}, load, ("torch",))


def _answer(one: Impressions) -> Answer:
    return {
        "digit_heard": WORDS[one.digits[0]],
        "digit_log_probabilities": one.logs[0].tolist(),
        "digit_features": one.features[0].tolist(),
    }
