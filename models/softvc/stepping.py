"""The decoder of Soft-VC's acoustic model one frame at a time, arranged so that a step reads each weight once.

torch's LSTM prepares its weights anew at every call: for one frame that takes longer than the arithmetic. Here what the
encoder's frames give to the first layer is one matrix product for the whole utterance, and a layer's step is one more,
of input and state side by side. B: batch, M: mel frames, C: channels of the encoder, H: width of a layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Precision = Literal["float32", "bfloat16", "int8"]
Product = Callable[[Tensor], Tensor]


@dataclass
class State:
    """State of the decoder: the frame predicted last ``(B, mels)``, and each layer's output and cell ``(B, H)``."""

    frame: Tensor | None = None
    layers: list[tuple[Tensor, Tensor]] = field(default_factory=list)


class Stepper:
    """A decoder that runs free, frame after frame.

    Args:
        decoder: ``models.softvc.acoustic.Decoder``; its weights of this moment are taken.
        precision: of the weights of pre-net, LSTM layers and output; sums, states and what the encoder gives are
            float32.

    Raises:
        ValueError: a precision that is none.
    """

    def __init__(self, decoder: Any, precision: Precision = "float32") -> None:
        layers: list[Any] = [decoder.lstm1, decoder.lstm2, decoder.lstm3]
        channels = layers[0].input_size - decoder.prenet.net[3].out_features
        first = layers[0].weight_ih_l0.detach()
        self.hidden = layers[0].hidden_size
        self.mels = decoder.proj.out_features
        biases = [(layer.bias_ih_l0 + layer.bias_hh_l0).detach() for layer in layers]
        self.from_encoder = (first[:, :channels], biases[0])
        inputs = [first[:, channels:], layers[1].weight_ih_l0.detach(), layers[2].weight_ih_l0.detach()]
        states = [layer.weight_hh_l0.detach() for layer in layers]
        build = product(precision)
        self.gates = [
            build(torch.cat([own, state], dim=1), bias)
            for own, state, bias in zip(inputs, states, [None, *biases[1:]], strict=True)
        ]
        linear = (decoder.prenet.net[0], decoder.prenet.net[3])
        self.prenet = [build(layer.weight.detach(), layer.bias.detach()) for layer in linear]
        self.proj = build(decoder.proj.weight.detach(), None)

    def run(self, encoded: Tensor, state: State | None = None) -> Tensor:
        """Predict log-mels ``(B, M, mels)`` of ``(B, M, C)``; ``state`` is begun from, and left at the last frame."""
        state = State() if state is None else state
        batch, count, _ = encoded.shape
        if state.frame is None:
            state.frame = encoded.new_zeros(batch, self.mels)
            state.layers = [(encoded.new_zeros(batch, self.hidden),) * 2 for _ in self.gates]
        given = F.linear(encoded, *self.from_encoder).transpose(0, 1).contiguous()
        out = encoded.new_empty(count, batch, self.mels)
        frame, layers = state.frame, list(state.layers)
        for index in range(count):
            frame = self._step(given[index], frame, layers)
            out[index] = frame
        state.frame, state.layers = frame, layers
        return out.transpose(0, 1)

    def _step(self, given: Tensor, frame: Tensor, layers: list[tuple[Tensor, Tensor]]) -> Tensor:
        x = frame
        for layer in self.prenet:
            x = layer(x).relu_()
        total: Tensor | None = None
        for number, gate in enumerate(self.gates):
            output, cell = layers[number]
            gates = gate(torch.cat([x, output], dim=1))
            if number == 0:
                gates = gates + given
            output, cell = _cell(gates, cell)
            layers[number] = (output, cell)
            total = output if total is None else total + output
            x = total
        return self.proj(x)


def _cell(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Return output and cell ``(B, H)`` from gates ``(B, 4 H)``: input, forget, cell, output, as torch orders them."""
    width = cell.shape[1]
    opened = torch.sigmoid(gates)
    proposed = torch.tanh(gates[:, 2 * width : 3 * width])
    cell = opened[:, width : 2 * width] * cell + opened[:, :width] * proposed
    return opened[:, 3 * width :] * torch.tanh(cell), cell


def product(precision: Precision) -> Callable[[Tensor, Tensor | None], Product]:
    """Return what makes of a weight ``(O, I)`` and a bias ``(O,)`` the map ``(B, I)`` to ``(B, O)`` in float32."""
    check_precision(precision)
    return _PRODUCTS[precision]


def check_precision(precision: str) -> None:
    """Raise ``ValueError`` where there are no weights of that precision."""
    if precision not in _PRODUCTS:
        raise ValueError(f"precision {precision!r} is not one of {', '.join(_PRODUCTS)}")


def _float32(weight: Tensor, bias: Tensor | None) -> Product:
    weight = weight.float().contiguous()
    return lambda x: F.linear(x, weight, bias)


def _bfloat16(weight: Tensor, bias: Tensor | None) -> Product:
    small = weight.to(torch.bfloat16).contiguous()

    def apply(x: Tensor) -> Tensor:
        out = F.linear(x.to(torch.bfloat16), small).float()
        return out if bias is None else out + bias

    return apply


def _int8(weight: Tensor, bias: Tensor | None) -> Product:
    """Take eight bits and one scale for each output; activations stay bfloat16."""
    scale = weight.abs().amax(1).clamp_min(1e-12) / 127
    small = torch.round(weight / scale[:, None]).to(torch.int8).contiguous()
    scale = scale.to(torch.bfloat16)

    def apply(x: Tensor) -> Tensor:
        out = torch._weight_int8pack_mm(x.to(torch.bfloat16), small, scale).float()
        return out if bias is None else out + bias

    return apply


_PRODUCTS: dict[str, Callable[[Tensor, Tensor | None], Product]] = {
    "float32": _float32,
    "bfloat16": _bfloat16,
    "int8": _int8,
}
