"""The digit classifier that stage ``train_digit_classifier`` leaves; its answer is ``{"digit_heard": word}``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from respeak.folders import CONFIG, read_tensors, read_yaml, save_state
from respeak.judges.files import files_digest
from speech.errors import UserError
from speech.files import atomic_path, write_text
from speech.judges.cache import Answer, Heard, Judge
from speech.judges.digits import WORDS, digit_mel, one_second

if TYPE_CHECKING:
    from models.judges.resnext import DigitClassifier

MODEL = "model.safetensors"


def save_classifier(folder: Path, sizes: Mapping[str, Any], model: DigitClassifier) -> None:
    """Write a trained classifier: its sizes and its weights."""
    with atomic_path(folder / MODEL) as temporary:
        save_state(temporary, model.state_dict())
    write_text(folder / CONFIG, yaml.safe_dump({"model": dict(sizes)}, sort_keys=True))


class DigitJudge:
    """A classifier from its folder.

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

    def __call__(self, wave: np.ndarray) -> int:
        """Which digit ``(T,)`` float32 at 16 kHz says, ``T > 0``."""
        import torch

        second = torch.from_numpy(np.ascontiguousarray(one_second(wave), np.float32))
        with torch.inference_mode():
            return int(self._model(digit_mel(second[None].to(self._device))).argmax())


def digit_judge(folder: str, device: Callable[[], str] = lambda: "cpu") -> Judge | None:
    """The judge in ``folder``; None where the parameters name none.

    Raises:
        UserError: there is none in the folder.
    """
    if not folder or folder.endswith(".py"):
        return None
    files = [Path(folder) / name for name in (CONFIG, MODEL)]
    if lacking := [file for file in files if not file.is_file()]:
        raise UserError(
            f"evaluate.digits: {lacking[0]}: not found; run 'dvc repro train_digit_classifier', or leave it empty"
        )

    def load() -> Callable[[Heard], Answer]:
        judge = DigitJudge(Path(folder), device())
        return lambda heard: {"digit_heard": WORDS[judge(heard.wave)]}

    return Judge({"judge": "digits", "weights": files_digest(*files)}, load, ("torch",))
