"""The receptive field of a unit generator: the context with which a piece of a recording comes out as in the whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.resynthesis import UnitGenerator


@dataclass(frozen=True)
class Context:
    """Units on either side that can change the output of a unit, and the unit grid that F0 tokens lie on.

    Attributes:
        vocoder: units that the waveform of one unit sees.
        f0: units that one F0 token sees or, with a source, one value of the F0 that tokens stand for.
        grid: units per F0 token; pieces that are quantised start on multiples of it.
    """

    vocoder: int
    f0: int
    grid: int

    @classmethod
    def of(cls, model: UnitGenerator, f0_per_unit: int) -> Context:
        """Read off the convolutions of a model, an upper bound on each side."""
        from models.hifigan.reach import vocoder_reach

        quantiser = model.quantizer
        if quantiser is None:
            return cls(vocoder_reach(model.vocoder), 0, 1)
        frames = _encoder_reach(quantiser.encoder)
        if model.vocoder.source is not None:
            frames += _decoder_reach(quantiser.decoder)
        return cls(vocoder_reach(model.vocoder), _ceil(frames, f0_per_unit), max(1, quantiser.hop // f0_per_unit))

    def heard(self, start: int, stop: int, length: int) -> tuple[int, int]:
        """Return the units whose embeddings the vocoder needs for ``start .. stop`` of ``length``."""
        return max(start - self.vocoder, 0), min(stop + self.vocoder, length)

    def quantised(self, start: int, stop: int, length: int) -> tuple[int, int]:
        """Return the units whose F0 the tokens of ``start .. stop`` need, widened to the token grid."""
        low = max(start - self.f0, 0) // self.grid * self.grid
        return low, min(_ceil(stop + self.f0, self.grid) * self.grid, length)


def _encoder_reach(encoder: Any) -> int:
    *stages, last = encoder
    reach = last.padding[0]
    for stage in reversed(stages):
        reach += sum(block.dilated.padding[0] for block in stage.residual)
        reach = reach * stage.conv.stride[0] + stage.conv.kernel_size[0]
    return reach


def _decoder_reach(decoder: Any) -> int:
    first, *stages, last = decoder
    reach = last.padding[0]
    rate = 1
    for stage in reversed(stages):
        reach += rate * stage.conv.kernel_size[0]
        rate *= stage.conv.stride[0]
        reach += rate * sum(block.dilated.padding[0] for block in stage.residual)
    return reach + rate * first.padding[0]


def _ceil(value: int, divisor: int) -> int:
    return -(-value // divisor)
