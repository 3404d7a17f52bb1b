"""Resynthesis from discrete units: recordings of any length encoded, resynthesised and converted.

What follows the source is its units and its z-scored F0; the speaker embedding decides the voice, and with it the
pitch that a z-score means (Polyak et al. 2021, section 2; reference inference of the paper's code).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from respeak.bundle import ENCODER
from respeak.encoders.unit_encoder import UnitEncoder, conditioning_of, find_device, pieces
from respeak.systems.base import Control, Manner, Rendering, Stream, System, Task
from respeak.systems.resynthesis import rendering
from respeak.systems.resynthesis.bundle import FILES, KEYS, ResynthesisBundle, facts_of
from respeak.systems.resynthesis.piecewise import Encoded, Request, Vocoding
from respeak.voices import Voice, heard_voice, nearest_speaker
from speech.errors import UserError
from speech.intonation import UNCHANGED, Intonation, carry_melody, intone


class Resynthesis(System):
    """A trained unit vocoder with all that it needs to hear: encoder, k-means, pitch tracker, speakers.

    Args:
        bundle: as read by `ResynthesisBundle.load`.
        device: ``auto`` (a GPU where there is one), ``cpu`` or ``cuda``.
        untrained_seed: draw the generator's weights afresh instead of the trained ones (a baseline).
    """

    name = "resynthesis"
    takes = frozenset(Control) - {Control.STREAMING}
    tasks = frozenset({Task.RESYNTHESIS, Task.CONVERSION})
    bundle_keys = KEYS
    bundle_files = FILES
    hints = MappingProxyType({Control.RECORDING: "train_resynthesis.speaker=vector"})
    own_files = ("stages/train_f0_vq.py",)

    def __init__(self, bundle: ResynthesisBundle, device: str = "auto", untrained_seed: int | None = None) -> None:
        self.bundle, self.path = bundle, bundle.path
        self.device = find_device(device)
        self.sample_rate: int = bundle.config["sample_rate"]
        self.unit_hop: int = bundle.config["unit_hop"]
        self.f0_hop: int = bundle.config["f0_hop"]
        self.f0_per_unit = self.unit_hop // self.f0_hop
        self._content = _encoder_of(bundle, device)
        self.vocoding = Vocoding(bundle.generator(untrained_seed), self.device, self.f0_hop)

    @classmethod
    def takes_of(cls, config: Mapping[str, Any]) -> frozenset[Control]:
        """Return the controls of a bundle: one with a table of speakers takes no target by recording."""
        return cls.takes if config["model"].get("speaker_dim") else cls.takes - {Control.RECORDING}

    @classmethod
    def streams_of(cls, config: Mapping[str, Any], task: Task) -> frozenset[Stream]:
        """Return what `render` reads; d-vectors where the bundle knows voices by them."""
        read = {Stream.UNITS, Stream.F0}
        return frozenset(read | {Stream.SPEAKERS} if config["model"].get("speaker_dim") else read)

    @classmethod
    def facts(cls, path: Path) -> dict[str, str]:
        """Return what ``respeak info`` prints: rates, encoder, units, F0, speakers, licence; errors as `load`."""
        return facts_of(ResynthesisBundle.load(path))

    @classmethod
    def unit_encoder(cls, path: Path, device: str = "auto") -> UnitEncoder:
        """Return the bundle's encoder with its centres; errors as `load`."""
        return _encoder_of(ResynthesisBundle.load(path), device)

    @classmethod
    def from_bundle(cls, path: Path, device: str = "auto", untrained_seed: int | None = None) -> Resynthesis:
        """Load a bundle of this system; arguments and errors as `load`."""
        return cls(ResynthesisBundle.load(path), device, untrained_seed)

    @property
    def speakers(self) -> list[str]:
        """Names of the voices, in the order of the speaker embedding's rows."""
        return list(self.bundle.speakers)

    def voice(self, name: str | Voice) -> Voice:
        """Return the voice of a name; errors as `speaker_index`."""
        if isinstance(name, Voice):
            return name
        row = self.speaker_index(name)
        return Voice(name, self.bundle.speakers[name], row, self.bundle.vectors.get(name))

    def voice_of(self, wave: np.ndarray, rate: int, name: str = "the recording") -> Voice:
        """Return the voice of a recording, for a system that knows voices by d-vectors.

        Some ten seconds suffice. Arguments as in `condition`; ``name`` is for messages.

        Raises:
            AudioError: the recording cannot be used.
            UserError: the system has a table of its own speakers, or the recording has no voiced speech.
        """
        if not self.vocoding.model.speaker_dim:
            raise UserError(
                f"{self.bundle.path} has a table of its own speakers ({', '.join(self.speakers)}): name one; only a "
                "system trained with train_resynthesis.speaker=vector speaks as somebody in a recording"
            )
        conditioned, num_speech = self.condition(wave, rate)
        return heard_voice(conditioned[:num_speech], self._track(conditioned), name)

    def condition(self, wave: np.ndarray, rate: int) -> tuple[np.ndarray, int]:
        """Prepare audio as the corpora were: 16 kHz, trimmed, peak-normalised, padded.

        Args:
            wave: (T,) float32 in [-1, 1].
            rate: of ``wave``, in Hz.

        Returns:
            (T16,) float32 at 16 kHz, T16 a multiple of ``audio.pad_multiple``, and the samples before padding.

        Raises:
            AudioError: nothing usable in it: silent, non-finite, too short.
        """
        conditioned = self._content.condition(wave, rate)
        return conditioned.wave, conditioned.num_speech

    def encode(self, wave: np.ndarray, rate: int, speaker: str | None = None) -> Encoded:
        """Encode a recording to units and F0; arguments and errors as in `condition`.

        ``speaker`` is the recording's, where the system knows them: frames are then normalised by that speaker's
        statistics (if the system's k-means wants that), else by the recording's own.
        """
        return self.encode_conditioned(*self.condition(wave, rate), speaker)

    def encode_conditioned(self, wave: np.ndarray, num_speech: int, speaker: str | None = None) -> Encoded:
        """Encode audio as `condition` returns it, (T16,) float32 at 16 kHz, to units and F0."""
        frames = [self._content.features(piece)[own] for piece, own in self._pieces(wave)]
        units = self._content.assign(np.concatenate(frames), speaker)
        return Encoded(units, self._track(wave), num_speech)

    def encode_as(self, wave: np.ndarray, rate: int, units: np.ndarray) -> Encoded:
        """Encode a recording to units (N,) that were made elsewhere and its own F0; arguments as in `encode`.

        Raises:
            AudioError: the recording cannot be used, or has another number of units than those.
            UserError: a unit that is none of the system's.
        """
        from speech.units import fit_units

        self._check_units(units)
        conditioned, num_speech = self.condition(wave, rate)
        track = self._track(conditioned)
        # Units of the speech alone, or of the padded recording: by default we cut silences, others may not.
        wanted = len(track) // self.f0_per_unit
        speech = -(-num_speech // self.unit_hop)
        if abs(len(units) - speech) < abs(len(units) - wanted):
            units = np.pad(fit_units("units", units, speech), (0, wanted - speech), mode="edge")
        else:
            units = fit_units("units", units, wanted)
        return Encoded(units, track, num_speech)

    def resynthesize(
        self,
        wave: np.ndarray,
        rate: int,
        speaker: str | None = None,
        intonation: Intonation = UNCHANGED,
        melody: np.ndarray | None = None,
    ) -> np.ndarray:
        """Resynthesize a recording in its own voice; arguments and result as in `convert`.

        ``speaker`` is the recording's; by default the voice of the recording itself where the system knows voices by
        d-vectors, else its speaker with the nearest one.

        Raises:
            AudioError: the recording cannot be used.
            UserError: the speaker is unknown, or none is given and the system has no d-vectors.
        """
        if speaker is not None:
            self.speaker_index(speaker)
        conditioned, num_speech = self.condition(wave, rate)
        encoded = self.encode_conditioned(conditioned, num_speech, speaker)
        voice = self.voice(speaker) if speaker else self._own_voice(conditioned[:num_speech], encoded.f0)
        return self.synthesize(encoded, voice, speaker, intonation, melody)

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
        """Convert a recording to the voice of ``target``.

        F0 is z-scored with the statistics of ``source`` where the system knows that speaker, else with the
        recording's own, and gets its height from the target. ``units`` as in `encode_as`; the other arguments, result
        and errors as in `System.convert`.
        """
        voice = target if isinstance(target, Voice) else self.voice(self.one_voice(target))
        if source is not None:
            self.speaker_index(source)
        encoded = self.encode(wave, rate, source) if units is None else self.encode_as(wave, rate, units)
        return self.synthesize(encoded, voice, source, intonation, melody)

    def render(self, renderings: Sequence[Rendering], manner: Manner) -> Iterator[np.ndarray]:
        """Yield a waveform for each; recordings of one length are generated side by side; errors as `generate_many`."""
        return rendering.render(self, renderings, manner)

    def synthesize(
        self,
        encoded: Encoded,
        voice: Voice,
        source: str | Mapping[str, Any] | None = None,
        intonation: Intonation = UNCHANGED,
        melody: np.ndarray | None = None,
    ) -> np.ndarray:
        """Synthesize what was encoded, as long as its speech.

        ``source`` tells by what statistics F0 is z-scored, as in `normalise_f0`; the rest as in `convert`.
        """
        (wave,) = self.generate_many([self.plan(encoded, voice, source, intonation, melody)])
        return wave[: encoded.num_speech]

    def plan(
        self,
        encoded: Encoded,
        voice: Voice,
        source: str | Mapping[str, Any] | None = None,
        intonation: Intonation = UNCHANGED,
        melody: np.ndarray | None = None,
    ) -> Request:
        """Plan what `synthesize` generates; arguments and errors as there."""
        voiced = encoded.f0 > 0
        f0 = self.normalise_f0(encoded.f0, source) if melody is None else carry_melody(melody, voiced)
        voice, intonation = self._placed(voice, intonation)
        return Request(encoded.units, self.intone(f0, voiced, voice, intonation), voice)

    def synthesize_units(
        self,
        units: np.ndarray,
        target: str | Voice,
        intonation: Intonation = UNCHANGED,
        melody: np.ndarray | None = None,
        deduplicated: bool = False,
    ) -> np.ndarray:
        """Synthesize units alone (N,): ``(N * unit_hop,)`` float32 in [-1, 1] at 16 kHz.

        The melody is that of another recording (`melody_of`), or level at the voice's mean; which frames are voiced is
        what the system learnt of each unit. ``deduplicated`` units last as long as the system thinks right, whatever
        their repetitions.

        Raises:
            UserError: as `generate` and `intone`; or the system does not know how long units last, or how often they
                are voiced.
        """
        request = self.plan_units(units, target, intonation, melody, deduplicated)
        return self.generate_many([request])[0]

    def plan_units(
        self,
        units: np.ndarray,
        voice: str | Voice,
        intonation: Intonation = UNCHANGED,
        melody: np.ndarray | None = None,
        deduplicated: bool = False,
    ) -> Request:
        """Plan what `synthesize_units` generates; arguments and errors as there."""
        voice, intonation = self._placed(self.voice(voice), intonation)
        self._check_units(units)
        if deduplicated:
            changes = np.flatnonzero(np.diff(np.asarray(units, dtype=np.int64), prepend=-1))
            units = self.vocoding.repeat(units[changes])
        if self.vocoding.model.quantizer is None:
            return Request(units, None, voice)
        if self.bundle.voicing is None:
            raise UserError(
                f"{self.bundle.path}: does not state which units are voiced, so units alone are not enough; train the "
                "system again, or give the recordings too"
            )
        voiced = np.repeat(self.bundle.voicing[np.asarray(units, dtype=np.int64)] > 0.5, self.f0_per_unit)
        if melody is None:
            f0 = self.intone(np.zeros(len(voiced), np.float32), voiced, voice, Intonation(intonation.semitones, 0.0))
        else:
            f0 = self.intone(carry_melody(melody, voiced), voiced, voice, intonation)
        return Request(units, f0, voice)

    def intone(self, f0: np.ndarray, voiced: np.ndarray, voice: Voice, intonation: Intonation) -> np.ndarray:
        """Change a z-scored melody (N,), voiced where the mask (N,) says so, as ``voice`` is to have it.

        Raises:
            UserError: the system has no F0, or its F0 tokens do not tell the flat melody from unvoiced speech.
        """
        if intonation == UNCHANGED:
            return f0
        if self.vocoding.model.quantizer is None:
            raise UserError(f"{self.bundle.path}: this system was trained without F0, so its melody cannot be changed")
        band = self.vocoding.unvoiced_band if intonation.span < 1 else (0.0, 0.0)
        return intone(f0, voiced, voice.stats, self.bundle.config["f0"]["normalise"], intonation, band)

    def _placed(self, voice: Voice, intonation: Intonation) -> tuple[Voice, Intonation]:
        """Return a voice that makes what it can of a change by its register, and the rest of the change.

        F0 tokens reach no further than what they were trained on, some two deviations about the mean. A source is told
        in Hz where they lie, so a melody that is to be higher or wider goes there whole.
        """
        if self.vocoding.model.vocoder.source is None:
            return voice, intonation
        wider = max(intonation.span, 1.0)
        return voice.moved(intonation.semitones, wider), Intonation(0.0, intonation.span / wider)

    def melody_of(self, wave: np.ndarray, rate: int) -> np.ndarray:
        """Return the z-scored F0 (N,) of a recording, for another to have; arguments as in `condition`.

        Raises:
            AudioError: the recording cannot be used.
        """
        conditioned, num_speech = self.condition(wave, rate)
        return self.normalise_f0(self._track(conditioned))[: -(-num_speech // self.f0_hop)]

    def normalise_f0(self, f0: np.ndarray, speaker: str | Mapping[str, Any] | None = None) -> np.ndarray:
        """Z-score voiced F0 (N,) in Hz by the statistics of ``speaker``, a name or the statistics themselves.

        Where the name is unknown or none is given, the track's own statistics serve.
        """
        from speech.pitch import normalise_f0, voiced_statistics

        if not (f0 > 0).any():
            return np.zeros(len(f0), dtype=np.float32)
        stats = self.bundle.speakers.get(speaker) if isinstance(speaker, str) else speaker
        return normalise_f0(f0, stats or voiced_statistics(f0), self.bundle.config["f0"]["normalise"])

    def generate(self, units: np.ndarray, f0: np.ndarray | None, speaker: str | Voice) -> np.ndarray:
        """Generate audio from units.

        Args:
            units: (N,) integers below K.
            f0: (4 N,) float32 z-scored F0, 0 where unvoiced; ignored by a system without F0.
            speaker: the voice, or its name.

        Returns:
            (N * unit_hop,) float32 in [-1, 1] at 16 kHz, made piece by piece without seams.

        Raises:
            UserError: unknown speaker, a unit that is none, no unit, or F0 of another length.
        """
        return self.generate_many([Request(units, f0, self.voice(speaker))])[0]

    def generate_many(self, requests: Sequence[Request]) -> list[np.ndarray]:
        """Generate each as `generate` does, those of one length at once; errors as there."""
        for request in requests:
            self._check(request.units, request.f0)
        return self.vocoding.generate_many(requests)

    def _pieces(self, wave: np.ndarray) -> Iterator[tuple[np.ndarray, slice]]:
        return pieces(wave, self.bundle.config["audio"]["pad_multiple"])

    def _track(self, wave: np.ndarray) -> np.ndarray:
        """Track F0 (N,) in Hz of conditioned audio."""
        from speech.pitch import extract_f0

        f0, tracks = self.bundle.config["f0"], []
        for piece, own in self._pieces(wave):
            track = extract_f0(piece, f0["method"], f0["floor_hz"], f0["ceil_hz"])
            tracks.append(track[own.start * self.f0_per_unit : own.stop * self.f0_per_unit])
        return np.concatenate(tracks)

    def _own_voice(self, speech: np.ndarray, f0: np.ndarray) -> Voice:
        if self.vocoding.model.speaker_dim:
            return heard_voice(speech, f0, "the recording")
        return self.voice(nearest_speaker(self.path, self.speakers, self.bundle.vectors, speech))

    def _check_units(self, units: np.ndarray) -> None:
        known = self.bundle.config["kmeans"]["k"]
        if not len(units) or int(np.min(units)) < 0 or int(np.max(units)) >= known:
            raise UserError(f"units: expected at least one, each from 0 to {known - 1}; were they made by this system?")

    def _check(self, units: np.ndarray, f0: np.ndarray | None) -> None:
        self._check_units(units)
        if self.vocoding.model.quantizer is None:
            return
        if f0 is None or len(f0) != len(units) * self.f0_per_unit:
            found = "none" if f0 is None else len(f0)
            raise UserError(f"f0: {found} frames for {len(units)} units, expected {len(units) * self.f0_per_unit}")


def _encoder_of(bundle: ResynthesisBundle, device: str) -> UnitEncoder:
    return UnitEncoder(
        bundle.path / ENCODER,
        bundle.centroids,
        bundle.config["kmeans"]["normalise"],
        find_device(device),
        conditioning_of(bundle.config["audio"]),
        bundle.frame_stats,
    )
