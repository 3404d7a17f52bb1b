"""HuBERT (Hsu et al. 2021) and wav2vec 2.0 (Baevski et al. 2020) through torchaudio's modules, at any width.

State dicts have torchaudio's key names (``feature_extractor.*``, ``encoder.*``); ``models.encoders.keys`` maps others
onto them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from models.encoders.arithmetic import PositionalConvolution, front_end
from models.encoders.base import ContentEncoder

# (kernel, stride) of the waveform encoder; product of strides 320, receptive field 400.
CONVOLUTIONS = ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2))

FrontEnd = Literal["group_norm", "layer_norm"]


class Hubert(ContentEncoder):
    """Output of transformer layer ``layer`` (counted from 1), as that layer leaves it.

    The waveform is padded by 40 zeros each side, so that T samples give ``T // 320`` frames (van Niekerk et al. 2022)
    instead of one fewer. The default widths are those of HuBERT Base (95 M parameters).

    Batches are padded without changing a frame: the group norm of the ``group_norm`` front end averages over time, so
    it sees each recording's own samples alone; positions see zeros, attention sees nothing behind a recording's end.

    Args:
        layer: 1 to ``layers``; the resynthesis paper takes 6, soft units take 7.
        layers, heads, dim, feed_forward: of the transformer.
        conv_channels: of the waveform encoder.
        position_kernel, position_groups: of the convolution that stands for positions.
        front_end: ``group_norm`` once after the first convolution (Base) or ``layer_norm`` after each (Large).
        conv_bias: whether the waveform encoder's convolutions have biases.
        norm_first: layer norm before attention and feed-forward (Large) instead of after. The norm that follows the
            last layer is then no part of a layer's output, as in the published feature extraction.
        normalise_wave: zero mean and unit variance of each recording first (Large).

    Raises:
        ValueError: ``layer`` is outside the transformer, or ``dim`` is not divisible by ``heads``.
    """

    kind = "hubert"
    receptive_field = 0  # self-attention sees the whole recording

    def __init__(
        self,
        layer: int,
        layers: int = 12,
        heads: int = 12,
        dim: int = 768,
        feed_forward: int = 3072,
        conv_channels: int = 512,
        position_kernel: int = 128,
        position_groups: int = 16,
        front_end: FrontEnd = "group_norm",
        conv_bias: bool = False,
        norm_first: bool = False,
        normalise_wave: bool = False,
    ) -> None:
        from torchaudio.models import wav2vec2_model  # heavy, and training machines need not have it

        super().__init__()
        if not 1 <= layer <= layers:
            raise ValueError(f"encoder.layer: {layer} is outside the transformer's 1 to {layers}")
        if dim % heads:
            raise ValueError(f"encoder.options.dim: {dim} is not a multiple of heads ({heads})")
        if front_end not in ("group_norm", "layer_norm"):
            raise ValueError(f"encoder.options.front_end: {front_end!r} is not group_norm or layer_norm")
        self.layer, self.num_layers, self.dim = layer, layers, dim
        self.normalise_wave = normalise_wave
        self.model: Any = wav2vec2_model(
            extractor_mode=front_end,
            extractor_conv_layer_config=[(conv_channels, kernel, stride) for kernel, stride in CONVOLUTIONS],
            extractor_conv_bias=conv_bias,
            encoder_embed_dim=dim,
            encoder_projection_dropout=0.1,
            encoder_pos_conv_kernel=position_kernel,
            encoder_pos_conv_groups=position_groups,
            encoder_num_layers=layers,
            encoder_num_heads=heads,
            encoder_attention_dropout=0.1,
            encoder_ff_interm_features=feed_forward,
            encoder_ff_interm_dropout=0.0,
            encoder_dropout=0.1,
            encoder_layer_norm_first=norm_first,
            encoder_layer_drop=0.05,
            aux_num_out=None,
        )
        self._positions: PositionalConvolution | None = None

    def prepare(self) -> ContentEncoder:
        """Positions by Fourier transform on a processor; see ``ContentEncoder.prepare``."""
        embedding = self.model.encoder.transformer.pos_conv_embed
        on_cpu = next(self.parameters()).device.type == "cpu"
        self._positions = PositionalConvolution(embedding) if on_cpu else None
        return self

    def encode(self, padded: Tensor, lengths: Tensor | None, layers: Sequence[int]) -> list[Tensor]:
        """Outputs of the chosen layers; see ``ContentEncoder.encode``."""
        samples = None if lengths is None else [length + 2 * self.padding for length in lengths.tolist()]
        rows = front_end(self.model.feature_extractor, padded, samples)
        count = (padded.shape[1] - 2 * self.padding) // self.hop
        hidden = torch.stack([F.pad(row, (0, 0, 0, count - len(row))) for row in rows])
        frames = None if lengths is None else torch.div(lengths.to(padded.device), self.hop, rounding_mode="floor")
        return self._transform(hidden, frames, layers)

    def _transform(self, hidden: Tensor, frames: Tensor | None, layers: Sequence[int]) -> list[Tensor]:
        transformer = self.model.encoder.transformer
        x = self.model.encoder.feature_projection(hidden)
        mask = None
        if frames is not None:
            inside = torch.arange(x.shape[1], device=x.device) < frames[:, None]
            x = x * inside[..., None]
            # A recording without a frame looks at all of them: softmax over nothing is not a number.
            seen = inside | (frames == 0)[:, None]
            mask = seen[:, None, None].expand(-1, 1, x.shape[1], -1)
        x = x + (self._positions or transformer.pos_conv_embed)(x)
        if transformer.layer_norm_first:
            x = transformer.layer_norm(x)
        x = transformer.dropout(x)
        outputs = {}
        for number, layer in enumerate(transformer.layers[: max(layers)], start=1):
            x, _ = layer(x, mask)
            outputs[number] = x
        return [outputs[layer] for layer in layers]


class Wav2Vec2(Hubert):
    """wav2vec 2.0: HuBERT's network under another training; arguments and features alike.

    The published Base has HuBERT Base's sizes. The published LV-60K Large models have ``layers: 24, heads: 16,
    dim: 1024, feed_forward: 4096, front_end: layer_norm, conv_bias: true, norm_first: true, normalise_wave: true``.
    """

    kind = "wav2vec2"
