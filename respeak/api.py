"""The programming interface: a system that encodes, resynthesises and converts recordings of any length.

What follows the source is its units and its z-scored F0; the speaker embedding decides the voice, and with it the
pitch that a z-score means (Polyak et al. 2021, section 2; reference inference of the paper's code).
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from respeak.bundle import ENCODER, Bundle
from respeak.context import Context
from respeak.units import UnitEncoder, conditioning_of, find_device, pieces
from speech.errors import UserError

if TYPE_CHECKING:
    import torch

# The vocoder's activations for 20 s take about 1 GB at the published width.
GENERATE_SECONDS = 20.0


@dataclass(frozen=True)
class Encoded:
    """A recording as the system sees it.

    Attributes:
        units: (N,) uint16, one per ``unit_hop`` (320) samples.
        f0: (4 N,) float32 in Hz, one per ``f0_hop`` (80) samples, 0 where unvoiced.
        num_speech: samples at 16 kHz before padding; N * unit_hop is at least this.
    """

    units: np.ndarray
    f0: np.ndarray
    num_speech: int


class System:
    """A trained unit vocoder with all that it needs to hear: encoder, k-means, pitch tracker, speakers.

    Args:
        bundle: as read by `respeak.bundle.Bundle.load`.
        device: ``auto`` (a GPU where there is one), ``cpu`` or ``cuda``.
        untrained_seed: draw the generator's weights afresh instead of the trained ones (a baseline).
    """

    def __init__(self, bundle: Bundle, device: str = "auto", untrained_seed: int | None = None) -> None:
        self.bundle = bundle
        self.device = find_device(device)
        self.sample_rate: int = bundle.config["sample_rate"]
        self.unit_hop: int = bundle.config["unit_hop"]
        self.f0_hop: int = bundle.config["f0_hop"]
        self.f0_per_unit = self.unit_hop // self.f0_hop
        config = bundle.config
        self._content = UnitEncoder(
            bundle.path / ENCODER,
            bundle.centroids,
            config["kmeans"]["normalise"],
            self.device,
            conditioning_of(config["audio"]),
            bundle.frame_stats,
        )
        model = bundle.generator(untrained_seed)
        model.vocoder.remove_weight_norm()
        self._model = model.to(self.device)
        self._context = Context.of(model, self.f0_per_unit)

    @classmethod
    def load(cls, path: Path | str, device: str = "auto") -> System:
        """Read a bundle.

        Raises:
            UserError: it is missing, damaged or of another kind, or the device is not there.
        """
        return cls(Bundle.load(path), device)

    @property
    def speakers(self) -> list[str]:
        """Names of the voices, in the order of the speaker embedding's rows."""
        return list(self.bundle.speakers)

    def speaker_index(self, name: str) -> int:
        """Row of the speaker embedding.

        Raises:
            UserError: the system has no such voice; lists those it has.
        """
        if name not in self.bundle.speakers:
            raise UserError(f"speaker '{name}' is not in {self.bundle.path}; it has {', '.join(self.speakers)}")
        return self.speakers.index(name)

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
        """Units and F0 of a recording; arguments and errors as in `condition`.

        ``speaker`` is who speaks, where the system knows them: frames are then normalised by that speaker's
        statistics (if the system's k-means wants that), else by the recording's own.
        """
        return self.encode_conditioned(*self.condition(wave, rate), speaker)

    def encode_conditioned(self, wave: np.ndarray, num_speech: int, speaker: str | None = None) -> Encoded:
        """Units and F0 of audio as `condition` returns it: (T16,) float32 at 16 kHz."""
        from speech.pitch import extract_f0

        f0 = self.bundle.config["f0"]
        tracks, frames = [], []
        for piece, own in pieces(wave, self.bundle.config["audio"]["pad_multiple"]):
            track = extract_f0(piece, f0["method"], f0["floor_hz"], f0["ceil_hz"])
            tracks.append(track[own.start * self.f0_per_unit : own.stop * self.f0_per_unit])
            frames.append(self._content.features(piece)[own])
        units = self._content.assign(np.concatenate(frames), speaker)
        return Encoded(units, np.concatenate(tracks), num_speech)

    def resynthesize(self, wave: np.ndarray, rate: int, speaker: str | None = None) -> np.ndarray:
        """Say a recording again in its own voice.

        Args:
            wave: (T,) float32 in [-1, 1].
            rate: of ``wave``, in Hz.
            speaker: who speaks; by default the system's speaker with the nearest d-vector.

        Returns:
            (T',) float32 in [-1, 1] at 16 kHz, as long as the conditioned input before padding.

        Raises:
            AudioError: the recording cannot be used.
            UserError: the speaker is unknown, or none is given and the system has no d-vectors.
        """
        if speaker is not None:
            self.speaker_index(speaker)
        conditioned, num_speech = self.condition(wave, rate)
        voice = speaker or self._nearest_speaker(conditioned[:num_speech])
        encoded = self.encode_conditioned(conditioned, num_speech, speaker)
        return self.generate(encoded.units, self.normalise_f0(encoded.f0, speaker), voice)[:num_speech]

    def convert(self, wave: np.ndarray, rate: int, target: str, source: str | None = None) -> np.ndarray:
        """Say a recording in the voice of ``target``.

        F0 is z-scored with the statistics of ``source`` where the system knows that speaker, else with the
        recording's own, and gets its height from the target. Arguments, result and errors as in `resynthesize`.
        """
        for name in (target, source):
            if name is not None:
                self.speaker_index(name)
        encoded = self.encode(wave, rate, source)
        return self.generate(encoded.units, self.normalise_f0(encoded.f0, source), target)[: encoded.num_speech]

    def normalise_f0(self, f0: np.ndarray, speaker: str | None = None) -> np.ndarray:
        """Z-score voiced F0 (N,) in Hz by the speaker's statistics, or by its own where the speaker is unknown."""
        from speech.pitch import normalise_f0, voiced_statistics

        if not (f0 > 0).any():
            return np.zeros(len(f0), dtype=np.float32)
        stats = self.bundle.speakers.get(speaker) if speaker is not None else None
        return normalise_f0(f0, stats or voiced_statistics(f0), self.bundle.config["f0"]["normalise"])

    def generate(self, units: np.ndarray, f0: np.ndarray | None, speaker: str) -> np.ndarray:
        """Audio from units.

        Args:
            units: (N,) integers below K.
            f0: (4 N,) float32 z-scored F0, 0 where unvoiced; ignored by a system without F0.
            speaker: the voice.

        Returns:
            (N * unit_hop,) float32 in [-1, 1] at 16 kHz. It is made piece by piece, each with as much context as the
            network can see, so that memory does not grow with the recording and the seams are none.

        Raises:
            UserError: unknown speaker, a unit that is none, no unit, or F0 of another length.
        """
        row = self.speaker_index(speaker)
        self._check(units, f0)
        wave = np.empty(len(units) * self.unit_hop, dtype=np.float32)
        phase = 0.0
        step = round(GENERATE_SECONDS * self.sample_rate / self.unit_hop)
        for start in range(0, len(units), step):
            stop = min(start + step, len(units))
            own = slice(start * self.unit_hop, stop * self.unit_hop)
            wave[own], phase = self._generate_piece(units, f0, row, start, stop, phase)
        return wave

    def _generate_piece(
        self, units: np.ndarray, f0: np.ndarray | None, row: int, start: int, stop: int, phase: float
    ) -> tuple[np.ndarray, float]:
        """Samples of units ``start`` to ``stop``; ``phase`` in periods at the first and, returned, after the last."""
        import torch

        left, right = self._context.heard(start, stop, len(units))
        low, high = self._context.quantised(left, right, len(units))
        # The end of a recording may lie off the grid of F0 tokens.
        short = -(high - low) % self._context.grid
        piece = np.pad(np.asarray(units[low:high], dtype=np.int64), (0, short), mode="edge")
        track = None
        if f0 is not None and self._model.quantizer is not None:
            values = np.asarray(f0[low * self.f0_per_unit : high * self.f0_per_unit], dtype=np.float32)
            track = torch.from_numpy(np.pad(values, (0, short * self.f0_per_unit)))[None, None].to(self.device)
        heard = slice(left - low, right - low)
        with torch.inference_mode():
            speaker = torch.tensor([row], device=self.device)
            condition = self._model.condition(torch.from_numpy(piece)[None].to(self.device), track, speaker)
            source = None
            if track is not None and self._model.vocoder.source is not None:
                contour = self._model.contour(track, speaker)
                source, phase = self._source(contour, heard, slice(start - low, stop - low), left, phase)
            wave = self._model.vocoder(condition[..., heard], source)[0, 0].float().cpu().numpy()
        return wave[(start - left) * self.unit_hop : (stop - left) * self.unit_hop], phase

    def _source(
        self, contour: torch.Tensor, heard: slice, own: slice, left: int, phase: float
    ) -> tuple[torch.Tensor, float]:
        """Excitation of the units ``heard`` (from ``left`` on in the recording), in phase with the pieces before.

        ``contour`` (1, 1, N) in Hz; slices are in units of it; ``phase`` holds where ``own`` begins.
        """
        import torch

        from models.hifigan.source import excitation

        def periods(first: int, last: int) -> float:
            hertz = contour[..., first * self.f0_per_unit : last * self.f0_per_unit].double()
            return float(hertz.sum()) * self.f0_hop / self.sample_rate

        at_left = contour.new_tensor([phase - periods(heard.start, own.start)], dtype=torch.float64)
        frames = contour[..., heard.start * self.f0_per_unit : heard.stop * self.f0_per_unit]
        source = excitation(frames, self.f0_hop, at_left, left * self.unit_hop)
        return source, (phase + periods(own.start, own.stop)) % 1.0

    def _nearest_speaker(self, speech: np.ndarray) -> str:
        if len(self.speakers) == 1:
            return self.speakers[0]
        advice = f"say who speaks (--speaker); {self.bundle.path} has {', '.join(self.speakers)}"
        if not self.bundle.vectors:
            raise UserError(f"the system has no d-vectors to find the speaker by: {advice}")
        if importlib.util.find_spec("resemblyzer") is None:
            raise UserError(f"finding the speaker needs Resemblyzer: install it, or {advice}")
        from speech.judges.speaker import embed, similarity

        heard = embed(speech)
        return max(self.bundle.vectors, key=lambda name: float(similarity(heard, self.bundle.vectors[name])))

    def _check(self, units: np.ndarray, f0: np.ndarray | None) -> None:
        known = self.bundle.config["kmeans"]["k"]
        if not len(units) or int(np.min(units)) < 0 or int(np.max(units)) >= known:
            raise UserError(f"units: expected at least one, each from 0 to {known - 1}; were they made by this system?")
        if self._model.quantizer is None:
            return
        if f0 is None or len(f0) != len(units) * self.f0_per_unit:
            found = "none" if f0 is None else len(f0)
            raise UserError(f"f0: {found} frames for {len(units)} units, expected {len(units) * self.f0_per_unit}")
