"""HuBERT (Hsu et al. 2021) through torchaudio's modules, at any width.

State dicts have torchaudio's key names (``feature_extractor.*``, ``encoder.*``): its public weights load as they are.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from models.encoders.base import ContentEncoder

# (kernel, stride) of the waveform encoder; product of strides 320, receptive field 400.
CONVOLUTIONS = ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2))


class Hubert(ContentEncoder):
    """Output of transformer layer ``layer`` (counted from 1), after its last layer norm.

    The waveform is padded by 40 zeros each side, so that T samples give ``T // 320`` frames (van Niekerk et al. 2022)
    instead of one fewer. The default widths are those of HuBERT Base (95 M parameters).

    Args:
        layer: 1 to ``layers``; the resynthesis paper takes 6, soft units take 7.
        layers, heads, dim, feed_forward: of the transformer.
        conv_channels: of the waveform encoder.
        position_kernel, position_groups: of the convolution that stands for positions.

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
    ) -> None:
        from torchaudio.models import wav2vec2_model  # heavy, and training machines need not have it

        super().__init__()
        if not 1 <= layer <= layers:
            raise ValueError(f"encoder.layer: {layer} is outside the transformer's 1 to {layers}")
        if dim % heads:
            raise ValueError(f"encoder.options.dim: {dim} is not a multiple of heads ({heads})")
        self.layer, self.dim = layer, dim
        self.model: Any = wav2vec2_model(
            extractor_mode="group_norm",
            extractor_conv_layer_config=[(conv_channels, kernel, stride) for kernel, stride in CONVOLUTIONS],
            extractor_conv_bias=False,
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
            encoder_layer_norm_first=False,
            encoder_layer_drop=0.05,
            aux_num_out=None,
        )

    def encode(self, padded: Tensor, frames: Tensor | None = None) -> Tensor:
        """Output of the chosen layer; see ``ContentEncoder.encode``."""
        if frames is None or bool((frames == frames[0]).all()):
            return self._layer_output(padded)
        # The first convolution's group norm averages over time, so padding would change every frame of a recording:
        # recordings of equal length go through together, each group without padding.
        count = (padded.shape[1] - 2 * self.padding) // self.hop
        features = padded.new_zeros(len(padded), count, self.dim)
        for length in frames.unique().tolist():
            rows = torch.nonzero(frames == length).flatten().to(padded.device)
            if length:
                group = padded[rows, : length * self.hop + 2 * self.padding]
                features[rows, :length] = self._layer_output(group)
        return features

    def _layer_output(self, padded: Tensor) -> Tensor:
        return self.model.extract_features(padded, num_layers=self.layer)[0][-1]
