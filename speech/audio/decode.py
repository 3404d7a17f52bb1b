"""A decoder in a process of its own: where it crashes or hangs on a file, that file alone is lost."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from speech.audio.child import Answer, Child, ChildDiedError, serve
from speech.audio.waveforms import Header, Wave, read_header, read_wave
from speech.errors import AudioError


class IsolatedDecoder:
    """A reader of headers and recordings in a helper process; a context manager, restarted by itself after a crash."""

    def __init__(self, timeout_seconds: float = 120.0) -> None:
        self._child = Child("speech.audio.decode", "main", timeout_seconds)

    def __enter__(self) -> IsolatedDecoder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._child.close()

    @property
    def pid(self) -> int:
        """Process id of the helper."""
        return self._child.pid

    def header(self, path: Path | str) -> Header:
        """Read and check a header as ``speech.audio.waveforms.read_header`` does.

        Raises:
            AudioError: also when the decoder crashed or hung on the file.
        """
        answer, _ = self._ask(path, {"what": "header", "path": str(path)})
        return Header(**answer["header"])

    def read(self, path: Path | str, max_seconds: float = math.inf) -> tuple[Wave, int]:
        """Decode as ``speech.audio.waveforms.read_wave`` does: ``(T,) float32`` and the sampling rate in Hz.

        Raises:
            AudioError: also when the decoder crashed or hung on the file.
        """
        limit = None if math.isinf(max_seconds) else max_seconds
        answer, samples = self._ask(path, {"what": "wave", "path": str(path), "max_seconds": limit})
        return np.frombuffer(samples, np.float32), answer["rate"]

    def _ask(self, path: Path | str, request: dict[str, Any]) -> Answer:
        try:
            header, payload = self._child.ask(request)
        except ChildDiedError as death:
            if not death.crashed:
                raise RuntimeError(f"{path}: the decoding process {death.reason}; its traceback is above") from death
            raise AudioError(f"{path}: the decoder failed on it ({death.reason})") from None
        if "error" in header:
            raise AudioError(header["error"])
        return header, payload


def main() -> None:
    """Run the helper process."""
    serve(_answer)


def _answer(request: dict[str, Any]) -> Answer:
    try:
        if request["what"] == "header":
            return {"header": dataclasses.asdict(read_header(request["path"]))}, b""
        limit = request["max_seconds"]
        wave, rate = read_wave(request["path"], math.inf if limit is None else limit)
        return {"rate": rate}, wave.tobytes()
    except AudioError as error:
        return {"error": str(error)}, b""
