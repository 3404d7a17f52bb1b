"""torchaudio's pipelines as judges: CTC recognisers on wav2vec 2.0 and HuBERT, and SQUIM.

SQUIM (Kumar et al. 2023, "TorchAudio-Squim") estimates STOI, PESQ and SI-SDR of a recording without a reference.
Weights are files that somebody put there; nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from speech.errors import UserError
from speech.judges.public_weights import DAMAGE, damaged, load_weights

ADDRESS = "https://download.pytorch.org/torchaudio/models/"
SQUIM_URL = ADDRESS + "squim_objective_dns2020.pth"
BLANK = "-"
SHORTEST = 400  # samples: what the first output frame of wav2vec 2.0 sees


def recogniser_bundle(name: str) -> Any:
    """Return torchaudio's bundle of a CTC recogniser, such as ``WAV2VEC2_ASR_BASE_960H``.

    Raises:
        UserError: torchaudio knows none of that name.
    """
    from torchaudio import pipelines

    bundle = getattr(pipelines, name, None)
    if not isinstance(bundle, pipelines.Wav2Vec2ASRBundle):
        known = [key for key in dir(pipelines) if isinstance(getattr(pipelines, key), pipelines.Wav2Vec2ASRBundle)]
        raise UserError(f"evaluate.asr.model: {name!r} is no recogniser of torchaudio's; known are {', '.join(known)}")
    return bundle


def bundle_url(bundle: Any) -> str:
    """Return the address where its weights are published."""
    return ADDRESS + str(bundle._path)


class BundleCTC:
    """A bundle as emissions.

    Args:
        bundle: torchaudio's.
        weights: its published file.
        device: where it runs.

    Attributes:
        tokens: by index, ``|`` between words.
        blank: index of the blank.
        special: none.

    Raises:
        UserError: the file is damaged, or of another model.
    """

    def __init__(self, bundle: Any, weights: Path, device: str = "cpu") -> None:
        self.tokens = [str(label) for label in bundle.get_labels(blank=BLANK)]
        self.blank, self.special = self.tokens.index(BLANK), ()
        where = {"model_dir": str(weights.parent), "file_name": weights.name, "weights_only": True, "progress": False}
        try:
            self._model = bundle.get_model(dl_kwargs=where).eval().to(device)
        except DAMAGE as error:
            raise damaged(weights, error) from None
        self._device = device

    def emissions(self, wave: np.ndarray) -> np.ndarray:
        """Compute log-probabilities ``(T, V)`` float32 of a recording ``(N,)`` at 16 kHz, a frame every 20 ms."""
        import torch

        wave = np.pad(np.asarray(wave, np.float32), (0, max(0, SHORTEST - len(wave))))
        with torch.inference_mode():
            logits, _ = self._model(torch.from_numpy(wave)[None].to(self._device))
        return logits[0].log_softmax(-1).float().cpu().numpy()


class Squim:
    """SQUIM's three estimates.

    Args:
        weights: torchaudio's published file.
        device: where it runs.

    Raises:
        UserError: the file is damaged, or of another model.
    """

    def __init__(self, weights: Path, device: str = "cpu") -> None:
        from torchaudio.models import squim_objective_base

        self._model = squim_objective_base()
        load_weights(weights, self._model.load_state_dict)
        self._model = self._model.eval().to(device)
        self._device = device

    def __call__(self, wave: np.ndarray) -> Mapping[str, float]:
        """Estimate STOI (0..1), PESQ (1..4.5) and SI-SDR (dB) of ``(N,)`` float32 at 16 kHz."""
        import torch

        with torch.inference_mode():
            scores = self._model(torch.from_numpy(np.asarray(wave, np.float32))[None].to(self._device))
        names = ("squim_stoi", "squim_pesq", "squim_si_sdr")
        return {name: float(score) for name, score in zip(names, scores, strict=True)}
