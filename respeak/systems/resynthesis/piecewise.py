"""Synthesis of a waveform of any length from units, melody and voice, piece by piece."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from respeak.systems.resynthesis.receptive_field import Context
from respeak.voices import Voice
from speech.errors import UserError
from speech.pitch import location_scale
from speech.rates import SAMPLE_RATE

if TYPE_CHECKING:
    import torch

    from models.resynthesis import UnitGenerator

# The vocoder's activations for 20 s take about 1 GB at the published width.
GENERATE_SECONDS = 20.0
# Steady levels of normalised F0 that are tried one after the other: no speaker's mean lies further from a voiced token.
BAND_STEP, BAND_LIMIT = 0.02, 3.0


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


@dataclass(frozen=True)
class Request:
    """A request for a waveform: units ``(N,)``, their normalised F0 ``(4 N,)`` or None, and the voice."""

    units: np.ndarray
    f0: np.ndarray | None
    voice: Voice


class Vocoding:
    """A generator arranged for synthesis, on a device.

    Args:
        model: in eval mode.
        device: where it is to run.
        f0_hop: samples per F0 frame.
    """

    def __init__(self, model: UnitGenerator, device: torch.device, f0_hop: int) -> None:
        self.model = model.to(device)
        model.vocoder.prepare()
        self.device, self.f0_hop = device, f0_hop
        self.unit_hop: int = model.vocoder.hop
        self.f0_per_unit = self.unit_hop // f0_hop
        self.context = Context.of(model, self.f0_per_unit)

    def generate(self, units: np.ndarray, f0: np.ndarray | None, voice: Voice) -> np.ndarray:
        """Synthesize ``(N * unit_hop,)`` float32 in [-1, 1] at 16 kHz from units ``(N,)`` and normalised F0.

        Each piece has as much context as the network can see, so that memory does not grow with the recording and the
        seams are none.
        """
        speaker = self._speaker(voice)
        wave = np.empty(len(units) * self.unit_hop, dtype=np.float32)
        phase = 0.0
        step = round(GENERATE_SECONDS * SAMPLE_RATE / self.unit_hop)
        for start in range(0, len(units), step):
            stop = min(start + step, len(units))
            own = slice(start * self.unit_hop, stop * self.unit_hop)
            wave[own], phase = self._piece(units, f0, speaker, start, stop, phase)
        return wave

    def generate_many(self, requests: Sequence[Request]) -> list[np.ndarray]:
        """Synthesize for each request what `generate` does, recordings of the same length side by side in batches.

        Padding others to one length would change their ends, which the network sees.
        """
        made: dict[int, np.ndarray] = {}
        alike: dict[tuple[int, bool], list[int]] = {}
        for number, request in enumerate(requests):
            alike.setdefault((len(request.units), request.f0 is None), []).append(number)
        for (length, _), numbers in alike.items():
            seconds = length * self.unit_hop / SAMPLE_RATE
            size = max(1, int(GENERATE_SECONDS / seconds)) if length % self.context.grid == 0 else 1
            for start in range(0, len(numbers), size):
                batch = numbers[start : start + size]
                made |= zip(batch, self._together([requests[number] for number in batch]), strict=True)
        return [made[number] for number in range(len(requests))]

    def _together(self, requests: Sequence[Request]) -> list[np.ndarray]:
        if len(requests) == 1:
            return [self.generate(requests[0].units, requests[0].f0, requests[0].voice)]
        import torch

        units = torch.from_numpy(np.stack([np.asarray(request.units, dtype=np.int64) for request in requests]))
        tracks = [request.f0 for request in requests if request.f0 is not None]
        f0 = torch.from_numpy(np.stack(tracks)).float()[:, None].to(self.device) if tracks else None
        speakers, registers = zip(*(self._speaker(request.voice) for request in requests), strict=True)
        register = None if registers[0] is None else torch.cat(registers)
        with torch.inference_mode():
            waves = self.model(units.to(self.device), f0, torch.cat(speakers), register)
        return list(waves[:, 0].float().cpu().numpy())

    def repeat(self, units: np.ndarray) -> np.ndarray:
        """Return units without repetitions (R,), each as often as it should last: (L,) int64.

        Raises:
            UserError: the system does not know how long units last.
        """
        import torch

        if self.model.durations is None:
            raise UserError(
                "this system does not know how long units last: train it with train_resynthesis.durations=true, or "
                "give units with their repetitions"
            )
        with torch.inference_mode():
            return self.model.repeat(torch.from_numpy(np.asarray(units, np.int64)).to(self.device)).cpu().numpy()

    @functools.cached_property
    def unvoiced_band(self) -> tuple[float, float]:
        """Ends of the open interval of steady normalised F0 that the quantiser gives the token of unvoiced frames.

        Raises:
            UserError: it gives every level near the mean that token.
        """
        import torch

        quantizer = self.model.quantizer
        if quantizer is None:
            return 0.0, 0.0
        levels = BAND_STEP * torch.arange(round(BAND_LIMIT / BAND_STEP) + 1, device=self.device)
        steady = torch.stack([levels, -levels], 1).view(-1, 1, 1).expand(-1, 1, 16 * quantizer.hop)
        with torch.inference_mode():
            tokens = quantizer.encode(steady)[:, 8].view(-1, 2)
        differs = tokens != tokens[0, 0]
        ends = [float(levels[column].min()) if column.any() else float("inf") for column in differs.unbind(1)]
        if min(ends) == float("inf"):
            raise UserError("this system's F0 tokens do not tell a level voice from unvoiced speech; it cannot be flat")
        return -ends[1], ends[0]

    def _speaker(self, voice: Voice) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the model's input for a voice, and the register of a source for it."""
        import torch

        if not self.model.speaker_dim:
            if voice.row is None:
                raise UserError(
                    f"'{voice.name}' is not among the system's speakers, of whom it has a table; only a system trained "
                    "with train_resynthesis.speaker=vector has other voices"
                )
            speaker = torch.tensor([voice.row], device=self.device)
        elif voice.vector is None:
            raise UserError(f"'{voice.name}' has no d-vector, by which this system knows voices")
        else:
            speaker = torch.from_numpy(voice.vector)[None].to(self.device)
        if self.model.vocoder.source is None:
            return speaker, None
        return speaker, torch.tensor([location_scale(voice.stats, self.model.f0_scale)], device=self.device)

    def _piece(
        self,
        units: np.ndarray,
        f0: np.ndarray | None,
        speaker: tuple[torch.Tensor, torch.Tensor | None],
        start: int,
        stop: int,
        phase: float,
    ) -> tuple[np.ndarray, float]:
        """Synthesize units ``start`` to ``stop``; ``phase``: in periods at the first and, returned, after the last."""
        import torch

        left, right = self.context.heard(start, stop, len(units))
        low, high = self.context.quantised(left, right, len(units))
        # The end of a recording may lie off the grid of F0 tokens.
        short = -(high - low) % self.context.grid
        piece = np.pad(np.asarray(units[low:high], dtype=np.int64), (0, short), mode="edge")
        track = None
        if f0 is not None and self.model.quantizer is not None:
            values = np.asarray(f0[low * self.f0_per_unit : high * self.f0_per_unit], dtype=np.float32)
            track = torch.from_numpy(np.pad(values, (0, short * self.f0_per_unit)))[None, None].to(self.device)
        heard = slice(left - low, right - low)
        with torch.inference_mode():
            condition = self.model.condition(torch.from_numpy(piece)[None].to(self.device), track, speaker[0])
            source = None
            if track is not None and self.model.vocoder.source is not None:
                contour = self.model.contour(track, *speaker)
                source, phase = self._source(contour, heard, slice(start - low, stop - low), left, phase)
            wave = self.model.vocoder(condition[..., heard], source)[0, 0].float().cpu().numpy()
        return wave[(start - left) * self.unit_hop : (stop - left) * self.unit_hop], phase

    def _source(
        self, contour: torch.Tensor, heard: slice, own: slice, left: int, phase: float
    ) -> tuple[torch.Tensor, float]:
        """Return the excitation of the units ``heard`` (from ``left`` on), in phase with the pieces before.

        ``left`` is in the recording; ``contour`` (1, 1, N) in Hz; slices are in units of it;
        ``phase`` holds where ``own`` begins.
        """
        import torch

        from models.hifigan.source import excitation

        def periods(first: int, last: int) -> float:
            hertz = contour[..., first * self.f0_per_unit : last * self.f0_per_unit].double()
            return float(hertz.sum()) * self.f0_hop / SAMPLE_RATE

        at_left = contour.new_tensor([phase - periods(heard.start, own.start)], dtype=torch.float64)
        frames = contour[..., heard.start * self.f0_per_unit : heard.stop * self.f0_per_unit]
        source = excitation(frames, self.f0_hop, at_left, left * self.unit_hop)
        return source, (phase + periods(own.start, own.stop)) % 1.0
