"""Unit vocoder (Polyak et al. 2021, section 2.2): units, F0 tokens and speaker to a waveform by HiFi-GAN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from models.hifigan.generator import Generator
from models.hifigan.sending import Sendable
from models.hifigan.source import F0_RANGE, NOISE_SAMPLES, excitation
from models.resynthesis.durations import DurationPredictor
from models.resynthesis.f0_vq import F0VQVAE


class UnitGenerator(Sendable):
    """HiFi-GAN on embedded units, F0 tokens and the speaker, whose rates are aligned by repetition.

    Args:
        num_units: rows of the unit table (K of k-means).
        num_speakers: rows of the speaker table; 0 for a model without speakers.
        speaker_dim: 0 for a table of the speakers in training; else speakers are vectors of so many numbers (d-vectors)
            through a linear layer, which those of other speakers are too.
        embedding_dim: width of each table; the generator sees their concatenation.
        f0_quantizer: constructor arguments of :class:`F0VQVAE`, frozen inside; ``None`` for a model without F0.
        initial_channels, upsample_rates, upsample_kernels, resblock_kernels, resblock_dilations: of the generator;
            the product of the rates is the unit hop in samples (320).
        source: ``none`` as published, or ``harmonic``: pulses at the F0 that the tokens hold, and noise, for the
            generator to filter; ``speaker_f0`` places the pulses.
        durations: with a predictor of how long units last, for units without their repetitions.
        f0_scale: what F0 was normalised in, ``hz`` or ``log`` (natural logarithm of Hz).

    Attributes:
        speaker_f0: ``(max(num_speakers, 1), 2)``, mean and deviation of each speaker's voiced F0 in ``f0_scale``; a
            statistic of the corpus, to be set before training with a source.

    Raises:
        ValueError: a harmonic source without an F0 quantiser.
    """

    speaker_f0: Tensor

    def __init__(
        self,
        num_units: int,
        num_speakers: int,
        embedding_dim: int = 128,
        f0_quantizer: Mapping[str, Any] | None = None,
        initial_channels: int = 512,
        upsample_rates: Sequence[int] = (5, 4, 4, 2, 2),
        upsample_kernels: Sequence[int] = (11, 8, 8, 4, 4),
        resblock_kernels: Sequence[int] = (3, 7, 11),
        resblock_dilations: Sequence[Sequence[int]] = ((1, 3, 5), (1, 3, 5), (1, 3, 5)),
        source: Literal["none", "harmonic"] = "none",
        f0_scale: Literal["hz", "log"] = "hz",
        speaker_dim: int = 0,
        durations: bool = False,
    ) -> None:
        super().__init__()
        if source == "harmonic" and f0_quantizer is None:
            raise ValueError("a harmonic source needs F0: give f0_quantizer, or source='none'")
        self.unit_embedding = nn.Embedding(num_units, embedding_dim)
        self.durations: DurationPredictor | None = DurationPredictor(embedding_dim) if durations else None
        self.speaker_dim = speaker_dim
        self.speaker_embedding: nn.Module | None = None
        if speaker_dim:
            self.speaker_embedding = nn.Linear(speaker_dim, embedding_dim)
        elif num_speakers:
            self.speaker_embedding = nn.Embedding(num_speakers, embedding_dim)
        self.quantizer: F0VQVAE | None = None
        self.f0_embedding: nn.Embedding | None = None
        if f0_quantizer is not None:
            self.quantizer = F0VQVAE(**f0_quantizer).requires_grad_(False)
            self.f0_embedding = nn.Embedding(len(self.quantizer.codebook.codes), embedding_dim)
        streams = 1 + (self.f0_embedding is not None) + (self.speaker_embedding is not None)
        self.vocoder = Generator(
            embedding_dim * streams,
            initial_channels,
            upsample_rates,
            upsample_kernels,
            resblock_kernels,
            resblock_dilations,
            source == "harmonic",
        )
        self.f0_scale = f0_scale
        if source == "harmonic":
            self.register_buffer("speaker_f0", torch.zeros(max(num_speakers, 1), 2))

    def train(self, mode: bool = True) -> UnitGenerator:
        """Set training mode for all but the frozen F0 quantiser."""
        super().train(mode)
        if self.quantizer is not None:
            # A training forward would move the frozen codebook.
            self.quantizer.eval()
        return self

    def forward(
        self,
        units: Tensor,
        f0: Tensor | None = None,
        speaker: Tensor | None = None,
        register: Tensor | None = None,
    ) -> Tensor:
        """Synthesize waveforms ``(B, 1, L * unit hop)`` in [-1, 1].

        Args:
            units: ``(B, L)`` int64.
            f0: ``(B, 1, T_f0)`` normalised F0, exactly 0 where unvoiced, covering the same time as the units.
            speaker: ``(B,)`` int64 rows of the speaker table, or ``(B, speaker_dim)`` vectors.
            register: ``(B, 2)`` mean and deviation of the speakers' voiced F0 in ``f0_scale``, where a source needs
                them; by default those of the rows.

        Raises:
            ValueError: an input the model needs is missing, or one rate is no multiple of the other.
        """
        features = self.condition(units, f0, speaker)
        if self.vocoder.source is None or f0 is None:
            return self.vocoder(features)
        hop = self.vocoder.hop * units.shape[1] // f0.shape[2]
        # In training the noise is another each time, lest the generator learn it by heart.
        start = int(torch.randint(NOISE_SAMPLES, ())) if self.training else 0
        return self.vocoder(features, excitation(self.contour(f0, speaker, register), hop, start=start))

    def contour(self, f0: Tensor, speaker: Tensor | None = None, register: Tensor | None = None) -> Tensor:
        """Return F0 in Hz, ``(B, 1, T_f0)``, as the tokens of ``f0`` hold it and the speaker's register places it.

        Unvoiced frames, where tokens hold nothing, lie near the speaker's mean. Arguments and errors as for the call.
        """
        assert self.quantizer is not None
        if register is None:
            if self.speaker_dim:
                raise ValueError("a vector does not hold how high its speaker's voice lies: pass register")
            rows = torch.zeros(len(f0), dtype=torch.int64, device=f0.device) if speaker is None else speaker.reshape(-1)
            register = self.speaker_f0[rows]
        mean, deviation = register.unsqueeze(2).split(1, dim=1)
        with torch.no_grad():
            moved = mean + deviation * self.quantizer.decode(self.quantizer.encode(f0))
            return (moved.exp() if self.f0_scale == "log" else moved).clamp(*F0_RANGE)

    def repeat(self, units: Tensor) -> Tensor:
        """Repeat each of the units ``(R,)`` int64, which have no repetitions, as often as it should last: ``(L,)``.

        Raises:
            ValueError: the model has no predictor of durations.
        """
        if self.durations is None:
            raise ValueError("this model was trained without durations: units must come with their repetitions")
        return units.repeat_interleave(self.durations.frames(self.unit_embedding(units)[None])[0])

    def condition(self, units: Tensor, f0: Tensor | None = None, speaker: Tensor | None = None) -> Tensor:
        """Return the vocoder's input ``(B, streams * embedding_dim, L)``; arguments as for the call."""
        streams = [self.unit_embedding(units).transpose(1, 2)]
        if self.quantizer is not None and self.f0_embedding is not None:
            if f0 is None:
                raise ValueError("this model was trained with F0: pass f0")
            with torch.no_grad():
                tokens = self.quantizer.encode(f0)
            streams.append(self.f0_embedding(tokens).transpose(1, 2))
        if self.speaker_embedding is not None:
            if speaker is None:
                raise ValueError("this model was trained with speakers: pass speaker")
            one = speaker.unsqueeze(1) if self.speaker_dim else speaker.reshape(-1, 1)
            streams.append(self.speaker_embedding(one).transpose(1, 2))
        length = max(stream.shape[2] for stream in streams)
        return torch.cat([repeat_to(stream, length) for stream in streams], dim=1)


def repeat_to(stream: Tensor, length: int) -> Tensor:
    """Repeat every column of ``(B, C, L)`` ``length // L`` times in a row: nearest alignment.

    Raises:
        ValueError: ``length`` is no multiple of L.
    """
    if length % stream.shape[2]:
        raise ValueError(f"cannot align {stream.shape[2]} frames to {length}: pad the audio to a multiple of 1280")
    return stream.repeat_interleave(length // stream.shape[2], dim=2)
