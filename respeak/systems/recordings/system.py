"""The recordings themselves as a system: the ground truth of every table, and the floor of no conversion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from respeak.systems.base import Control, Manner, Rendering, Stream, System, Task, named_controls
from respeak.voices import Voice
from speech.audio.waveforms import decode_audio, resample
from speech.intonation import UNCHANGED, Intonation
from speech.rates import SAMPLE_RATE


class Recordings(System):
    """Gives back what it is given, whatever voice is asked for. It has no bundle: its path is a corpus's audio."""

    name = "recordings"
    takes = frozenset({Control.TARGET, Control.RECORDING})
    tasks = frozenset({Task.COPY, Task.CONVERSION})
    bundled = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sample_rate = SAMPLE_RATE

    @classmethod
    def read_config(cls, path: Path | str) -> dict[str, Any]:
        """Return what other systems have in a bundle: it has no voices of its own."""
        return {"system": cls.name, "sample_rate": SAMPLE_RATE, "speakers": []}

    @classmethod
    def streams_of(cls, config: Mapping[str, Any], task: Task) -> frozenset[Stream]:
        """Return what `render` reads: the audio."""
        return frozenset({Stream.AUDIO})

    @classmethod
    def facts(cls, path: Path) -> dict[str, str]:
        """Return what there is to say of it."""
        return {"system": cls.name, "audio": f"{SAMPLE_RATE} Hz mono"}

    @classmethod
    def from_bundle(cls, path: Path, device: str = "auto", untrained_seed: int | None = None) -> Recordings:
        """Return the system; there is nothing to load."""
        return cls(path)

    @property
    def speakers(self) -> list[str]:
        """Names of the voices: none are its own."""
        return []

    def convert(
        self,
        wave: np.ndarray,
        rate: int,
        target: str | Voice | None = None,
        source: str | None = None,
        intonation: Intonation = UNCHANGED,
        melody: np.ndarray | None = None,
        units: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return the recording at 16 kHz, otherwise as it is. See `System.convert`."""
        self.require(named_controls(source, intonation, melody, units))
        return resample(wave, rate)

    def render(self, renderings: Sequence[Rendering], manner: Manner) -> Iterator[np.ndarray]:
        """Yield the speech of each recording as it is stored."""
        for rendering in renderings:
            source = rendering.source
            yield decode_audio(source.streams[Stream.AUDIO])[: source.num_speech]
