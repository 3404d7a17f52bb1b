"""DNSMOS P.835: predicted opinions of speech, of background and overall, without a reference.

Reddy et al. 2022 ("DNSMOS P.835: A non-intrusive perceptual objective speech quality metric to evaluate noise
suppressors"). The network is Microsoft's ONNX file, which somebody put there; windows and the polynomials that carry
its outputs onto the scale of the listening test are those published with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from speech.errors import UserError
from speech.judges.public_weights import damaged
from speech.rates import SAMPLE_RATE

DNSMOS_URL = "https://github.com/microsoft/DNS-Challenge/raw/master/DNSMOS/DNSMOS/sig_bak_ovr.onnx"
WINDOW = 144_160  # samples: 9.01 s
# Columns in the order of the network's outputs, and the polynomial of each, highest power first.
POLYNOMIALS = {
    "dnsmos_signal": (-0.08397278, 1.22083953, 0.0052439),
    "dnsmos_background": (-0.13166888, 1.60915514, -0.39604546),
    "dnsmos": (-0.06766283, 1.11546468, 0.04602535),
}


class Dnsmos:
    """DNSMOS's three opinions, 1 (bad) to 5 (excellent).

    Args:
        weights: Microsoft's ``sig_bak_ovr.onnx``.

    Raises:
        UserError: onnxruntime is not installed, or the file is damaged, or of another model.
    """

    def __init__(self, weights: Path) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise UserError("evaluate.quality: dnsmos needs onnxruntime: pip install 'respeak[judges]'") from None
        options = onnxruntime.SessionOptions()
        # Judging is parallel over utterances already.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._session: Any = onnxruntime.InferenceSession(
                weights.read_bytes(), options, providers=["CPUExecutionProvider"]
            )
            self._input = self._session.get_inputs()[0].name
            shape = self._hear(np.zeros(WINDOW, np.float32)).shape
        except Exception as error:  # noqa: BLE001 (onnxruntime's errors have no base of their own)
            raise damaged(weights, error) from None
        if shape != (len(POLYNOMIALS),):
            raise damaged(weights, ValueError(f"its outputs have the shape {shape}"))

    def __call__(self, wave: np.ndarray) -> Mapping[str, float]:
        """Predict signal, background and overall opinion of ``(T,)`` float32 at 16 kHz, ``T > 0``.

        They are means over the windows.
        """
        raw = np.stack([self._hear(part) for part in windows(wave)])
        return {
            name: float(np.mean(np.polyval(polynomial, raw[:, column])))
            for column, (name, polynomial) in enumerate(POLYNOMIALS.items())
        }

    def _hear(self, part: np.ndarray) -> np.ndarray:
        return np.asarray(self._session.run(None, {self._input: part[None]})[0][0])


def windows(wave: np.ndarray) -> Iterator[np.ndarray]:
    """Yield windows ``(144160,)`` float32, one every second; a recording that is shorter is doubled until it is not.

    Microsoft's script leaves out the 7th to 23rd of long recordings by a rounding error of floats; here all count.
    """
    wave = np.asarray(wave, np.float32)
    while len(wave) < WINDOW:
        wave = np.concatenate([wave, wave])
    # Whole seconds count, less 9.01 s; hence one window, never none, of a recording under 11 s.
    seconds = len(wave) // SAMPLE_RATE
    for start in range(max(1, seconds - 9)):
        yield wave[start * SAMPLE_RATE :][:WINDOW]
