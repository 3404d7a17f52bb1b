"""UTMOS as a judge: a predicted mean opinion of naturalness, by ear alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from speech.judges.public_weights import load_weights

UTMOS_URL = "https://github.com/tarepan/SpeechMOS/releases/download/v1.0.0/utmos22_strong_step7459_v1.pt"


class UtmosJudge:
    """The strong learner of UTMOS with its public weights.

    Args:
        weights: the published file.
        device: where it runs.

    Raises:
        UserError: the file is damaged, or of another model.
    """

    def __init__(self, weights: Path, device: str = "cpu") -> None:
        from models.judges.utmos import Utmos

        self._model = Utmos()
        load_weights(weights, self._model.load_public)
        self._model, self._device = self._model.eval().to(device), device

    def __call__(self, wave: np.ndarray) -> Mapping[str, float]:
        """Predict opinion, 1 (bad) to 5 (excellent), of ``(T,)`` float32 at 16 kHz; zeros fill it to 25 ms."""
        import torch

        padded = np.pad(np.asarray(wave, np.float32), (0, max(0, self._model.shortest - len(wave))))
        with torch.inference_mode():
            return {"utmos": float(self._model(torch.from_numpy(padded)[None].to(self._device)))}
