"""HuBERT (Hsu et al. 2021) and wav2vec 2.0 (Baevski et al. 2020) through torchaudio's modules, at any width.

State dicts have torchaudio's key names (``feature_extractor.*``, ``encoder.*``); ``models.encoders.keys`` maps others
onto them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.encoders.arithmetic import PositionalConvolution, WaveformEncoder, channel_major
from models.encoders.base import ContentEncoder, unit_variance
from models.encoders.spectral import LogMel
from speech.errors import UserError

# (kernel, stride) of the waveform encoder; product of strides 320, receptive field 400.
CONVOLUTIONS = ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2))

FrontEnd = Literal["group_norm", "layer_norm", "log_mel"]


class LogMelFrontEnd(nn.Module):
    """Front end of log-mel bands instead of the waveform encoder: nothing to learn there, and a tenth of its time."""

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.spectrum = LogMel(bands, floor=1e-4)

    def forward(self, padded: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, None]:
        """Map padded waveforms ``(B, T)`` to ``(B, N, bands)``, and None, which torchaudio's extractor returns too."""
        with torch.autocast(padded.device.type, enabled=False):
            return self.spectrum.log_power(padded), None


class Hubert(ContentEncoder):
    """HuBERT, up to transformer layer ``layer`` (counted from 1), whose output is taken as that layer leaves it.

    The waveform is padded by 40 zeros each side, so that T samples give ``T // 320`` frames (van Niekerk et al. 2022)
    instead of one fewer. The default widths are those of HuBERT Base (95 M parameters).

    Batches are padded without changing a frame: the group norm of the ``group_norm`` front end averages over time, so
    it sees each recording's own samples alone; positions see zeros, attention sees nothing behind a recording's end.

    Args:
        layer: 1 to ``layers``; the resynthesis paper takes 6, soft units take 7.
        layers, heads, dim, feed_forward: of the transformer.
        conv_channels: of the waveform encoder.
        position_kernel, position_groups: of the convolution that stands for positions.
        front_end: ``group_norm`` once after the first convolution (Base) or ``layer_norm`` after each (Large);
            ``log_mel``: no convolutions, ``conv_channels`` mel bands, for what is trained on minutes of speech.
        conv_bias: whether the waveform encoder's convolutions have biases.
        norm_first: layer norm before attention and feed-forward (Large) instead of after. The norm that follows the
            last layer is then no part of a layer's output, as in the published feature extraction.
        normalise_wave: zero mean and unit variance of each recording first (Large).

    Raises:
        ValueError: ``layer`` is outside the transformer, or ``dim`` is not divisible by ``heads``.
        UserError: torchaudio is not installed.
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
        super().__init__()
        if not 1 <= layer <= layers:
            raise ValueError(f"encoder.layer: {layer} is outside the transformer's 1 to {layers}")
        if dim % heads:
            raise ValueError(f"encoder.options.dim: {dim} is not a multiple of heads ({heads})")
        if front_end not in get_args(FrontEnd):
            raise ValueError(f"encoder.options.front_end: {front_end!r} is not one of {', '.join(get_args(FrontEnd))}")
        self.layer, self.num_layers, self.dim = layer, layers, dim
        self.normalise_wave = normalise_wave
        log_mel = front_end == "log_mel"
        convolutions = CONVOLUTIONS[:1] if log_mel else CONVOLUTIONS
        self.model: Any = _torchaudio_model()(
            extractor_mode="layer_norm" if log_mel else front_end,
            extractor_conv_layer_config=[(conv_channels, kernel, stride) for kernel, stride in convolutions],
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
        if log_mel:
            self.model.feature_extractor = LogMelFrontEnd(conv_channels)
        self._positions: PositionalConvolution | None = None
        self._waveforms: WaveformEncoder | None = None

    def prepare(self, dtype: torch.dtype = torch.float32) -> ContentEncoder:
        """Take our own arithmetic of convolutions on a processor; see ``ContentEncoder.prepare``."""
        transformer, extractor = self.model.encoder.transformer, self.model.feature_extractor
        if next(self.parameters()).device.type == "cpu":
            self._positions = PositionalConvolution(transformer.pos_conv_embed)
            if not isinstance(extractor, LogMelFrontEnd):
                self._waveforms = WaveformEncoder(extractor, dtype)
        for module in self.model.encoder.modules():
            if isinstance(module, nn.Linear):  # else autocast would do so again for each batch
                module.to(dtype)
        return self

    def encode(self, padded: Tensor, lengths: Tensor | None, layers: Sequence[int]) -> list[Tensor]:
        """Return the outputs of the chosen layers; see ``ContentEncoder.encode``."""
        frames = None if lengths is None else torch.div(lengths.to(padded.device), self.hop, rounding_mode="floor")
        if isinstance(self.model.feature_extractor, LogMelFrontEnd):
            return self._transform(self.model.feature_extractor(padded)[0], frames, layers)
        samples = None if lengths is None else [length + 2 * self.padding for length in lengths.tolist()]
        if self._waveforms is not None:
            rows = self._waveforms(padded, samples)
        else:
            rows = channel_major(self.model.feature_extractor, padded, samples or [padded.shape[1]] * len(padded))
        count = (padded.shape[1] - 2 * self.padding) // self.hop
        hidden = torch.stack([F.pad(row, (0, 0, 0, count - len(row))) for row in rows])
        return self._transform(hidden, frames, layers)

    def predict(self, waves: Tensor, masked: Tensor | None, replacement: Tensor) -> Tensor:
        """Return the last layer's output with some frames hidden from the transformer, with gradients: for training.

        Args:
            waves: ``(B, T)``, all of the same length.
            masked: ``(B, T // 320)`` bool, the frames to hide; ``None``: none.
            replacement: ``(D,)``, what stands in their place.

        Returns:
            ``(B, T // 320, D)``.
        """
        if self.normalise_wave:
            waves = unit_variance(waves, None)
        hidden, _ = self.model.feature_extractor(F.pad(waves, (self.padding, self.padding)), None)
        x = self.model.encoder.feature_projection(hidden)
        if masked is not None:
            x = torch.where(masked[..., None], replacement.to(x.dtype), x)
        return self._contextualise(x, None, [self.num_layers])[0]

    def _transform(self, hidden: Tensor, frames: Tensor | None, layers: Sequence[int]) -> list[Tensor]:
        x = self.model.encoder.feature_projection(hidden)
        mask = None
        if frames is not None:
            inside = torch.arange(x.shape[1], device=x.device) < frames[:, None]
            x = x * inside[..., None]
            # A recording without a frame looks at all of them: softmax over nothing is not a number.
            seen = inside | (frames == 0)[:, None]
            mask = seen[:, None, None].expand(-1, 1, x.shape[1], -1)
        return self._contextualise(x, mask, layers)

    def _contextualise(self, x: Tensor, mask: Tensor | None, layers: Sequence[int]) -> list[Tensor]:
        transformer = self.model.encoder.transformer
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
    """Encoder wav2vec 2.0: HuBERT's network under another training; arguments and features alike.

    The published Base has HuBERT Base's sizes. The published LV-60K Large models have ``layers: 24, heads: 16,
    dim: 1024, feed_forward: 4096, front_end: layer_norm, conv_bias: true, norm_first: true, normalise_wave: true``.
    """

    kind = "wav2vec2"


def _torchaudio_model() -> Any:
    """Return torchaudio's maker of models, imported here because it is heavy and the light core does without."""
    try:
        from torchaudio.models import wav2vec2_model
    except ModuleNotFoundError:
        raise UserError("encoders of HuBERT's family need torchaudio: pip install 'respeak[hubert]'") from None
    return wav2vec2_model
