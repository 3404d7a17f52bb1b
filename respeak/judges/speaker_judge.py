"""The judges of speakers that parameters name; the answer of each is ``{"embedding": [...]}``, compared by cosine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from respeak.judges.judge_weights import files_digest, judge_weights
from speech.judges.cache import Answer, Heard, Judge, package_version
from speech.judges.public_weights import load_weights
from speech.judges.settings import Evaluate

Device = Callable[[], str]
_HUB = "https://huggingface.co/speechbrain/"
# SpeechBrain's models on VoxCeleb; every one of its files is called alike, so they are kept under the model's name.
PUBLIC = {"ecapa": "spkrec-ecapa-voxceleb", "xvector": "spkrec-xvect-voxceleb"}


class SpeakerNetwork:
    """ECAPA-TDNN or the x-vector network with SpeechBrain's public weights.

    Args:
        name: ``ecapa`` or ``xvector``.
        weights: its ``embedding_model.ckpt``.
        device: where it runs.

    Raises:
        UserError: the file is damaged, or of another model.
    """

    def __init__(self, name: str, weights: Path, device: str = "cpu") -> None:
        from models.judges.speaker_networks import EcapaTDNN, XVector

        self._model: EcapaTDNN | XVector = EcapaTDNN() if name == "ecapa" else XVector()
        load_weights(weights, self._model.load_state_dict)
        self._model, self._device = self._model.eval().to(device), device

    def __call__(self, wave: np.ndarray) -> np.ndarray:
        """Embed a recording.

        Args:
            wave: ``(T,)`` float in [-1, 1] at 16 kHz, ``T > 0``. What is too short for a convolution's edges (under
                40 ms) is padded with zeros; silences are heard, as the networks did in training.

        Returns:
            ``(D,)`` float32 of length 1: 192 of ECAPA-TDNN, 512 of the x-vector; all zeros for digital silence.
        """
        import torch

        from models.judges.speaker_networks import HOP

        if not np.any(wave):
            return np.zeros(self._model.dim, np.float32)
        shortest = HOP * (self._model.shortest - 1)
        padded = np.pad(np.asarray(wave, np.float32), (0, max(0, shortest - len(wave))))
        with torch.inference_mode():
            vector = self._model(torch.from_numpy(padded)[None].to(self._device))[0]
        return torch.nn.functional.normalize(vector, dim=0).cpu().numpy()


def speaker_judge(evaluate: Evaluate, device: Device = lambda: "cpu") -> Judge:
    """Return the judge that ``evaluate.speaker_judge`` names.

    Raises:
        UserError: its weights are not there; names the file and its address.
    """
    name = evaluate.speaker_judge
    if name == "resemblyzer":
        return Judge({"judge": name}, _resemblyzer, ("Resemblyzer", "webrtcvad", "torch"))
    url = f"{_HUB}{PUBLIC[name]}/resolve/main/embedding_model.ckpt"
    key = f"evaluate.weights.{name}"
    weights = judge_weights(url, evaluate.weights.get(name, ""), key, f"{PUBLIC[name]}.ckpt")

    def load() -> Callable[[Heard], Answer]:
        network = SpeakerNetwork(name, weights, device())
        return lambda heard: {"embedding": network(heard.wave).tolist()}

    return Judge({"judge": name, "weights": files_digest(weights)}, load, ("torch",))


def describe_speaker_judge(name: str) -> str:
    """Describe the judge in words, with its version."""
    if name == "resemblyzer":
        return f"{name} {package_version('Resemblyzer')}"
    return f"{name} (SpeechBrain's {PUBLIC[name]}), torch {package_version('torch')}"


def _resemblyzer() -> Callable[[Heard], Answer]:
    from speech.dvectors import embed

    return lambda heard: {"embedding": embed(heard.wave).tolist()}
