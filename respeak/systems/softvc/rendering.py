"""An experiment's utterances through Soft-VC, from the units or the recordings of their corpus."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from respeak.systems.base import Manner, Rendering, Source, Stream, Task
from speech.audio.waveforms import decode_audio
from speech.units import shuffle_units

if TYPE_CHECKING:
    from respeak.systems.softvc.system import SoftVC


def render(system: SoftVC, renderings: Sequence[Rendering], manner: Manner) -> Iterator[np.ndarray]:
    """Yield a waveform (T,) float32 in [-1, 1] at 16 kHz for each; see ``System.render``."""
    if manner.task is Task.VOCODE:
        for rendering in renderings:
            yield _vocode(system, rendering.source)
        return
    contents: list[np.ndarray] = []
    for _, group in itertools.groupby(renderings, key=lambda rendering: rendering.source.id):
        alike = list(group)
        contents += [_content(system, alike[0].source, manner)] * len(alike)
    # The acoustic model goes frame by frame, for many utterances as fast as for one.
    mels = system.mels(contents, [rendering.target for rendering in renderings])
    for rendering, mel in zip(renderings, mels, strict=True):
        yield system.vocode(mel)[: rendering.source.num_speech]


def _content(system: SoftVC, source: Source, manner: Manner) -> np.ndarray:
    """Return what the acoustic model hears of an utterance's speech."""
    # Units of the corpus are normalised by all recordings of a speaker there.
    units = source.streams.get(Stream.UNITS)
    content = units if units is not None else system.content(decode_audio(source.streams[Stream.AUDIO]))
    content = content[: -(-source.num_speech // system.unit_hop)]
    if manner.units == "shuffled":
        content = shuffle_units(content, [manner.seed, zlib.crc32(source.id.encode())])
    return content


def _vocode(system: SoftVC, source: Source) -> np.ndarray:
    """Return a recording whose own log-mel went through the vocoder: what is lost behind the acoustic model."""
    import torch

    from models.softvc.mel import wave_to_mel

    wave = decode_audio(source.streams[Stream.AUDIO])[: source.num_speech]
    padded = np.pad(wave, (0, -len(wave) % system.unit_hop))
    return system.vocode(wave_to_mel(torch.from_numpy(padded)[None])[0].T.numpy())[: len(wave)]
