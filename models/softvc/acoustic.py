"""Acoustic model of Soft-VC (van Niekerk et al. 2022, section 2.2): units to log-mels, frame after frame.

Tacotron 2's decoder without attention: an encoder of convolutions doubles the rate of the units, three LSTM layers
predict a mel frame for each of its frames, given the frame before.

B: batch, N: units of 20 ms, M = 2 N mel frames of 10 ms (M = N without upsampling), C: channels of the encoder.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from models.softvc.stepping import Precision, State, Stepper, check_precision

NORM_FLOOR = 1e-5


class PreNet(nn.Module):
    """Pre-net: two layers with ReLU and dropout of one half, in training alone (in Tacotron 2 always)."""

    def __init__(self, in_dim: int, width: int, dropout: float = 0.5) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(in_dim, width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., in_dim)`` to ``(..., width)``."""
        return self.net(x)


class InstanceNorm(nn.Module):
    """Norm to zero mean and unit variance of each channel over its own utterance's frames; zeros behind its end."""

    def forward(self, x: Tensor, inside: Tensor | None = None) -> Tensor:
        """Normalise ``(B, C, N)``; ``inside`` ``(B, 1, N)`` marks the frames that are an utterance's."""
        if inside is None:
            variance, mean = torch.var_mean(x, dim=2, keepdim=True, correction=0)
            return (x - mean) * torch.rsqrt(variance + NORM_FLOOR)
        count = inside.sum(2, keepdim=True).clamp_min(1)
        centred = (x - (x * inside).sum(2, keepdim=True) / count) * inside
        variance = centred.square().sum(2, keepdim=True) / count
        return centred * torch.rsqrt(variance + NORM_FLOOR)


class Encoder(nn.Module):
    """Encoder of units as frames ``(B, M, C)`` for the decoder.

    Args:
        unit_dim: of a soft unit, or of the table of discrete ones.
        num_units: K of discrete units, whose table has one more row, for padding; 0: units are vectors.
        width: of the pre-net.
        channels: of the convolutions.
        upsample: two frames for each unit (units at 50 Hz) instead of one (at 100 Hz).
    """

    def __init__(self, unit_dim: int, num_units: int, width: int, channels: int, upsample: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_units + 1, unit_dim) if num_units else None
        self.prenet = PreNet(unit_dim, width)
        self.convs = nn.Sequential(
            nn.Conv1d(width, channels, 5, padding=2),
            nn.ReLU(),
            InstanceNorm(),
            nn.ConvTranspose1d(channels, channels, 4, 2, padding=1) if upsample else nn.Identity(),
            nn.Conv1d(channels, channels, 5, padding=2),
            nn.ReLU(),
            InstanceNorm(),
            nn.Conv1d(channels, channels, 5, padding=2),
            nn.ReLU(),
            InstanceNorm(),
        )

    def forward(self, units: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Encode units ``(B, N, unit_dim)``, or ``(B, N)`` int64, as frames ``(B, M, C)``.

        With ``lengths`` ``(B,)`` in units, an utterance's frames are those that it has alone, whatever lies behind
        its end; the frames there are zeros.
        """
        hidden = self.prenet(units if self.embedding is None else self.embedding(units)).transpose(1, 2)
        inside = None
        if lengths is not None:
            frames = torch.arange(hidden.shape[2], device=hidden.device)
            inside = (frames < lengths.to(hidden.device)[:, None])[:, None].to(hidden.dtype)
        for layer in self.convs:
            if isinstance(layer, InstanceNorm):
                hidden = layer(hidden, inside)
            elif isinstance(layer, nn.ConvTranspose1d):
                hidden = layer(hidden)
                # An utterance alone ends here: the next layer sees nothing behind the end.
                if inside is not None:
                    inside = inside.repeat_interleave(2, dim=2)
                    hidden = hidden * inside
            elif isinstance(layer, nn.Conv1d):
                hidden = layer(hidden if inside is None else hidden * inside)
            else:
                hidden = layer(hidden)
        return hidden.transpose(1, 2)


class Decoder(nn.Module):
    """Decoder of mel frames from encoder frames and the mel frames before; three LSTM layers, the last two residual."""

    def __init__(self, channels: int, mels: int, width: int, hidden: int) -> None:
        super().__init__()
        self.prenet = PreNet(mels, width)
        self.lstm1 = nn.LSTM(channels + width, hidden, batch_first=True)
        self.lstm2 = nn.LSTM(hidden, hidden, batch_first=True)
        self.lstm3 = nn.LSTM(hidden, hidden, batch_first=True)
        self.proj = nn.Linear(hidden, mels, bias=False)

    def forward(self, encoded: Tensor, previous: Tensor) -> Tensor:
        """Predict ``(B, M, mels)`` from ``(B, M, C)`` and the mel frame before each ``(B, M, mels)``."""
        x, _ = self.lstm1(torch.cat([encoded, self.prenet(previous)], dim=2))
        for layer in (self.lstm2, self.lstm3):
            x = x + layer(x)[0]
        return self.proj(x)


class AcousticModel(nn.Module):
    """Predictor of log-mels from units; the defaults are the published sizes (18.8 M parameters).

    Args:
        unit_dim: of a soft unit (256; raw features of HuBERT Base: 768), or of the table of discrete ones.
        num_units: K of discrete units (100); 0: units are vectors.
        num_speakers: rows of a table added to the encoder's frames; 0, as published: a model of one voice.
        mels: bands.
        width: of the pre-nets.
        channels: of the encoder.
        hidden: of each LSTM layer.
        upsample: two mel frames for each unit.
        mask_padding: keep padding out of the norms' statistics. The published code does not: what an utterance sounds
            like then depends on the longest in its batch.
    """

    def __init__(
        self,
        unit_dim: int = 256,
        num_units: int = 0,
        num_speakers: int = 0,
        mels: int = 128,
        width: int = 256,
        channels: int = 512,
        hidden: int = 768,
        upsample: bool = True,
        mask_padding: bool = True,
    ) -> None:
        super().__init__()
        self.num_units, self.mels, self.mask_padding = num_units, mels, mask_padding
        self.frames_per_unit = 2 if upsample else 1
        self.encoder = Encoder(unit_dim, num_units, width, channels, upsample)
        self.speaker_embedding = nn.Embedding(num_speakers, channels) if num_speakers else None
        self.decoder = Decoder(channels, mels, width, hidden)
        self._precision: Precision | None = None
        self._stepper: Stepper | None = None

    def encode(self, units: Tensor, lengths: Tensor | None = None, speaker: Tensor | None = None) -> Tensor:
        """Return frames ``(B, M, C)`` for the decoder; arguments as for the call."""
        encoded = self.encoder(units, lengths if self.mask_padding else None)
        if self.speaker_embedding is None:
            return encoded
        if speaker is None:
            raise ValueError("this model was trained with speakers: pass speaker")
        return encoded + self.speaker_embedding(speaker.reshape(-1, 1))

    def forward(
        self, units: Tensor, previous: Tensor, lengths: Tensor | None = None, speaker: Tensor | None = None
    ) -> Tensor:
        """Predict log-mels ``(B, M, mels)`` with the true frame before each given: for training.

        Args:
            units: ``(B, N, unit_dim)``, or ``(B, N)`` int64, where K is padding.
            previous: ``(B, M, mels)``, the log-mel one frame later, beginning with zeros.
            lengths: ``(B,)`` units of each utterance; ``None``: all are N long.
            speaker: ``(B,)`` int64 rows of the speaker table.

        Raises:
            ValueError: a model with speakers was given none.
        """
        return self.decoder(self.encode(units, lengths, speaker), previous)

    @torch.inference_mode()
    def generate(
        self,
        units: Tensor,
        lengths: Tensor | None = None,
        speaker: Tensor | None = None,
        state: State | None = None,
    ) -> Tensor:
        """Predict log-mels ``(B, M, mels)``, each frame from those that the model itself predicted before.

        Args:
            units: as for the call.
            lengths: as for the call. Frames behind an utterance's end are without meaning.
            speaker: as for the call.
            state: where the decoder begins, and, filled in, where it ended; ``None``: at silence's zeros.
        """
        encoded = self.encode(units, lengths, speaker)
        if self._precision is None:
            return Stepper(self.decoder).run(encoded, state)
        self._stepper = self._stepper or Stepper(self.decoder, self._precision)
        return self._stepper.run(encoded, state)

    def prepare(self, precision: Precision = "float32") -> AcousticModel:
        """Arrange the decoder for `generate` alone, once its weights are final; they may still move to a device.

        ``bfloat16`` and ``int8`` weights are smaller, and reading them is what a step on a processor costs; the mel
        is then another in its later digits.

        Raises:
            ValueError: a precision that is none.
        """
        check_precision(precision)
        self._precision, self._stepper = precision, None
        return self

    def _apply(self, fn: Any, recurse: bool = True) -> AcousticModel:
        self._stepper = None  # what it holds stays where the weights were
        return super()._apply(fn, recurse)
