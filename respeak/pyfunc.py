"""A system bundle as MLflow loads and serves it: recordings in, the same words in another voice out.

MLflow calls ``_load_pyfunc`` with the bundle's folder (its flavour ``python_function`` with a loader module), so that
nothing is unpickled: weights are the bundle's safetensors, the code is this one. Input and output are a table with
one column, ``audio``: bytes of an audio file (WAV, FLAC, whatever is decoded) in, bytes of a 16-bit WAV at 16 kHz out;
in JSON both are base64. Parameters hold for all rows: ``target`` (a voice of the system; empty: its only one),
``semitones`` and ``span`` (:class:`speech.intonation.Intonation`).
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from respeak.systems.base import Control, System
from speech.audio.decode import IsolatedDecoder
from speech.audio.waveforms import encode_audio
from speech.errors import UserError
from speech.intonation import Intonation

AUDIO = "audio"
# What a caller may ask for, with what holds where nothing is asked.
PARAMS: dict[str, str | float] = {"target": "", "semitones": 0.0, "span": 1.0}
PARAM_OF = {Control.PITCH: "semitones", Control.PITCH_RANGE: "span"}
MAX_SECONDS = 600.0  # of one recording; what comes over a network may claim any length


class Conversion:
    """A loaded system behind MLflow's ``predict``; one call at a time, others wait."""

    def __init__(self, system: System) -> None:
        self.system = system
        self._decoder = IsolatedDecoder()
        self._alone = threading.Lock()

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> Any:
        """Convert every recording of a table.

        Args:
            model_input: a pandas DataFrame with a column ``audio`` of bytes.
            params: see ``PARAMS``.

        Returns:
            A DataFrame of the same rows, ``audio`` of bytes: WAV, 16 bit, 16 kHz.

        Raises:
            AudioError: a recording that cannot be used; its row is named.
            UserError: an unknown voice, no voice named where there are several, or a melody that cannot be changed.
        """
        settings = {**PARAMS, **(params or {})}
        intonation = Intonation(float(settings["semitones"]), float(settings["span"]))
        used = {Control.PITCH: intonation.semitones != 0, Control.PITCH_RANGE: intonation.span != 1}
        self.system.require({control: f"params: {PARAM_OF[control]}" for control, is_used in used.items() if is_used})
        with self._alone:
            target = self.system.one_voice(str(settings["target"]) or None, "params: target")
            made = [self._convert(bytes(data), target, intonation, row) for row, data in enumerate(model_input[AUDIO])]
        return model_input[[AUDIO]].assign(**{AUDIO: made})

    def _convert(self, data: bytes, target: str, intonation: Intonation, row: int) -> bytes:
        try:
            wave, rate = self._decode(data)
            return encode_audio(self.system.convert(wave, rate, target, intonation=intonation), "wav")
        except UserError as error:
            raise type(error)(f"row {row}: {error}") from None

    def _decode(self, data: bytes) -> tuple[np.ndarray, int]:
        """Decode in a process of its own: what strangers send may crash a decoder, and costs them the answer only."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "recording"
            path.write_bytes(data)
            try:
                return self._decoder.read(path, MAX_SECONDS)
            except UserError as error:
                raise type(error)(str(error).replace(str(path), "the recording")) from None


def _load_pyfunc(path: str) -> Conversion:
    """Load the bundle in a folder, for MLflow."""
    return Conversion(System.load(path))
