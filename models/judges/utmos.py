"""UTMOS's strong learner: a predicted mean opinion of naturalness, from wav2vec 2.0's features.

Saeki et al. 2022 ("UTMOS: UTokyo-SaruLab system for VoiceMOS challenge 2022", section 3.1), without phonemes and for
one judge and one domain, as tarepan/SpeechMOS publishes it: its file's key names are understood here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

_PREFIX = "wav2vec2."
_LAYER = r"^encoder\.layers\.(\d+)\."
_INSIDE = r"encoder.transformer.layers.\1."
# fairseq's names of wav2vec 2.0's weights, and torchaudio's.
_RULES = (
    (r"^feature_extractor\.conv_layers\.0\.2\.", "feature_extractor.conv_layers.0.layer_norm."),
    (r"^feature_extractor\.conv_layers\.(\d+)\.0\.", r"feature_extractor.conv_layers.\1.conv."),
    (r"^layer_norm\.", "encoder.feature_projection.layer_norm."),
    (r"^post_extract_proj\.", "encoder.feature_projection.projection."),
    (r"^encoder\.pos_conv\.0\.weight_g$", "encoder.transformer.pos_conv_embed.conv.parametrizations.weight.original0"),
    (r"^encoder\.pos_conv\.0\.weight_v$", "encoder.transformer.pos_conv_embed.conv.parametrizations.weight.original1"),
    (r"^encoder\.pos_conv\.0\.", "encoder.transformer.pos_conv_embed.conv."),
    (r"^encoder\.layer_norm\.", "encoder.transformer.layer_norm."),
    (_LAYER + r"self_attn\.", _INSIDE + "attention."),
    (_LAYER + r"self_attn_layer_norm\.", _INSIDE + "layer_norm."),
    (_LAYER + r"fc1\.", _INSIDE + "feed_forward.intermediate_dense."),
    (_LAYER + r"fc2\.", _INSIDE + "feed_forward.output_dense."),
    (_LAYER, _INSIDE),
)


class Utmos(nn.Module):
    """The strong learner; the defaults are the published sizes (wav2vec 2.0 Base, 103 M parameters in all).

    Args:
        layers, heads, dim, feed_forward: of the transformer.
        channels: of the waveform encoder.
        hidden: of each direction of the recurrent layer.
    """

    shortest = 400  # samples: what the first frame sees

    def __init__(
        self,
        layers: int = 12,
        heads: int = 12,
        dim: int = 768,
        feed_forward: int = 3072,
        channels: int = 512,
        hidden: int = 512,
    ) -> None:
        from torchaudio.models import wav2vec2_model

        super().__init__()
        convolutions = ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2))
        self.wav2vec2: Any = wav2vec2_model(
            extractor_mode="group_norm",
            extractor_conv_layer_config=[(channels, kernel, stride) for kernel, stride in convolutions],
            extractor_conv_bias=False,
            encoder_embed_dim=dim,
            encoder_projection_dropout=0.0,
            encoder_pos_conv_kernel=128,
            encoder_pos_conv_groups=16,
            encoder_num_layers=layers,
            encoder_num_heads=heads,
            encoder_attention_dropout=0.0,
            encoder_ff_interm_features=feed_forward,
            encoder_ff_interm_dropout=0.0,
            encoder_dropout=0.0,
            encoder_layer_norm_first=False,
            encoder_layer_drop=0.0,
            aux_num_out=None,
        )
        self.domain_emb = nn.Parameter(torch.zeros(1, 128))
        self.judge_emb = nn.Parameter(torch.zeros(1, 128))
        self.blstm = nn.LSTM(dim + 256, hidden, batch_first=True, bidirectional=True)
        self.projection = nn.Sequential(nn.Linear(2 * hidden, 2048), nn.ReLU(), nn.Linear(2048, 1))

    def load_public(self, state: Mapping[str, Tensor]) -> None:
        """Take the weights of the published file, all of them.

        Raises:
            RuntimeError: a weight is missing, unknown or of another shape.
        """
        # What stood in masked frames' place in training.
        self.load_state_dict({_rename(key): value for key, value in state.items() if key != _PREFIX + "mask_emb"})

    def forward(self, waves: Tensor) -> Tensor:
        """Predict opinions ``(B,)``, 1 (bad) to 5 (excellent), of ``(B, T)`` at 16 kHz, 400 samples at least."""
        features, _ = self.wav2vec2(waves)
        known = torch.cat([self.domain_emb, self.judge_emb], dim=1)
        told = known.expand(*features.shape[:2], -1)
        frames, _ = self.blstm(torch.cat([features, told], dim=2))
        # Training was on opinions brought to -1 to 1.
        return 3 + 2 * self.projection(frames).mean((1, 2))


def _rename(key: str) -> str:
    if not key.startswith(_PREFIX):
        return key
    name = key.removeprefix(_PREFIX)
    for pattern, replacement in _RULES:
        if re.match(pattern, name):
            return _PREFIX + re.sub(pattern, replacement, name)
    return key
