"""An experiment's utterances through the resynthesis system, from the units and F0 of their corpus."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from respeak.systems.base import Manner, Rendering, Source, Stream
from respeak.systems.resynthesis.piecewise import Encoded
from speech.units import shuffle_units

if TYPE_CHECKING:
    from respeak.systems.resynthesis.piecewise import Request
    from respeak.systems.resynthesis.system import Resynthesis
    from respeak.voices import Voice
    from speech.intonation import Intonation


def render(system: Resynthesis, renderings: Sequence[Rendering], manner: Manner) -> Iterator[np.ndarray]:
    """Yield a waveform (T,) float32 in [-1, 1] at 16 kHz for each; see ``System.render``."""
    deduplicated = manner.units == "deduplicated"
    plan = functools.partial(_plan_deduplicated, system) if deduplicated else system.plan
    requests = [plan(*_arguments(system, rendering, manner)) for rendering in renderings]
    for rendering, wave in zip(renderings, system.generate_many(requests), strict=True):
        yield wave if deduplicated else wave[: rendering.source.num_speech]


def _arguments(
    system: Resynthesis, rendering: Rendering, manner: Manner
) -> tuple[Encoded, Voice, str | Mapping[str, Any], Intonation, np.ndarray | None]:
    """Return the arguments of `Resynthesis.plan`."""
    source = rendering.source
    units = source.streams[Stream.UNITS]
    if manner.units == "shuffled":
        units = shuffle_units(units, [manner.seed, zlib.crc32(source.id.encode())])
    encoded = Encoded(units, source.streams[Stream.F0], source.num_speech)
    voice = manner.strangers.get(rendering.target) or system.voice(rendering.target)
    melody = None if rendering.melody is None else _melody(system, rendering.melody, manner)
    return encoded, voice, _statistics(source.speaker, manner), manner.intonation, melody


def _plan_deduplicated(
    system: Resynthesis,
    encoded: Encoded,
    voice: Voice,
    statistics: str | Mapping[str, Any],
    intonation: Intonation,
    melody: np.ndarray | None,
) -> Request:
    """Plan the units of the speech without their repetitions, with its melody stretched to however long they last."""
    units = encoded.units[: -(-encoded.num_speech // system.unit_hop)]
    if melody is None:
        melody = system.normalise_f0(encoded.f0[: encoded.num_speech // system.f0_hop], statistics)
    # A melody without a voiced frame is none; the units are then synthesized on a level.
    return system.plan_units(units, voice, intonation, melody if melody.any() else None, deduplicated=True)


def _melody(system: Resynthesis, source: Source, manner: Manner) -> np.ndarray:
    """Return the z-scored F0 (N,) of an utterance's speech."""
    f0 = source.streams[Stream.F0][: source.num_speech // system.f0_hop]
    return system.normalise_f0(f0, _statistics(source.speaker, manner))


def _statistics(speaker: str, manner: Manner) -> str | Mapping[str, Any]:
    """Return what F0 of a speaker is normalised by: the name of one the system knows, or the corpus's statistics."""
    return manner.strangers[speaker].stats if speaker in manner.strangers else speaker
