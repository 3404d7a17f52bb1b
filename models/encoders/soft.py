"""Content encoders of Soft-VC (van Niekerk et al. 2022, section 2.1): soft units, and discrete ones by k-means.

B: batch, T: samples at 16 kHz, N: frames of 20 ms (``T // 320``), K: discrete units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from models.encoders.base import ContentEncoder
from models.encoders.hubert import Hubert
from models.encoders.prediction import MaskedPrediction
from models.kmeans import nearest


class SoftHubert(ContentEncoder):
    """A HuBERT that was trained to predict discrete units; soft units are what it compares with their embeddings.

    Features are the projections ``(B, N, label_dim)`` themselves, neither normalised nor turned into probabilities.

    Args:
        k: discrete units that it predicts.
        label_dim: of a soft unit (256).
        temperature: that divides the cosines of projections and label embeddings (0.1).
        hubert: arguments of :class:`Hubert` but ``layer``: the last layer is taken.

    Raises:
        ValueError: sizes that ``Hubert`` refuses.
    """

    kind = "soft_hubert"
    receptive_field = 0

    def __init__(
        self, k: int, label_dim: int = 256, temperature: float = 0.1, hubert: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        sizes = dict(hubert or {})
        encoder = Hubert(**{"layer": int(sizes.get("layers", 12)), **sizes})
        self.network = MaskedPrediction(encoder, k, label_dim, temperature)
        self.dim = label_dim
        self.normalise_wave = encoder.normalise_wave

    def prepare(self, dtype: torch.dtype = torch.float32) -> ContentEncoder:
        """Prepare the HuBERT inside; see ``ContentEncoder.prepare``."""
        self.network.encoder.prepare(dtype)
        return self

    def encode(self, padded: Tensor, lengths: Tensor | None, layers: Sequence[int]) -> list[Tensor]:
        """Return soft units; see ``ContentEncoder.encode``."""
        encoder = self.network.encoder
        (hidden,) = encoder.encode(padded, lengths, [encoder.num_layers])
        return [self.network.projection(hidden)] * len(layers)

    @torch.inference_mode()
    def units(self, wave: Tensor) -> Tensor:
        """Return soft units ``(B, N, label_dim)`` of waveforms ``(B, 1, T)`` or ``(B, T)``, as the public code does."""
        return self(_rows(wave))

    @torch.inference_mode()
    def probabilities(self, units: Tensor) -> Tensor:
        """Return the probability of each discrete unit, ``(B, N, K)``, from soft units ``(B, N, label_dim)``."""
        return self.network.logits(units).softmax(-1)


class DiscreteHubert(nn.Module):
    """A HuBERT with k-means centres of one of its layers (the paper: the seventh, 100 centres).

    Args:
        encoder: set to the layer that the centres are of.
        centres: ``(K, D)``; ``None``: to be set before units are asked for.
    """

    centres: Tensor | None

    def __init__(self, encoder: Hubert, centres: Tensor | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("centres", centres, persistent=False)

    def forward(self, waves: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return frames ``(B, N, D)`` of waveforms ``(B, T)``, before they are quantised."""
        return self.encoder(waves, lengths)

    @torch.inference_mode()
    def units(self, wave: Tensor) -> Tensor:
        """Return discrete units ``(N,)`` int64 of one waveform ``(1, 1, T)`` or ``(1, T)``, as the public code has it.

        Raises:
            ValueError: several waveforms, or no centres.
        """
        waves = _rows(wave)
        if len(waves) != 1:
            raise ValueError(f"units: one waveform at a time, not {len(waves)}")
        if self.centres is None:
            raise ValueError("units: this encoder has no k-means centres; set 'centres' to (K, D) of its layer")
        return nearest(self(waves)[0], self.centres)[0]


def _rows(wave: Tensor) -> Tensor:
    if wave.dim() == 3 and wave.shape[1] == 1:
        return wave[:, 0]
    if wave.dim() != 2:
        raise ValueError(f"units: expected a waveform (B, 1, T) or (B, T), not {tuple(wave.shape)}")
    return wave
