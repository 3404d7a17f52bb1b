"""A HuBERT that predicts the cluster of each frame: the head of its pretraining, and of soft units.

B: batch, N: frames of 20 ms, D: width of the transformer, K: clusters.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.encoders.hubert import Hubert


class MaskedPrediction(nn.Module):
    """An encoder with the head that pretraining needs: cosines to K label embeddings, over a temperature.

    Args:
        encoder: to be trained.
        k: clusters.
        label_dim: of the label embeddings and of the projection before them.
        temperature: that divides the cosines.
    """

    def __init__(self, encoder: Hubert, k: int, label_dim: int = 256, temperature: float = 0.1) -> None:
        super().__init__()
        self.encoder = encoder
        self.temperature = temperature
        self.replacement = nn.Parameter(torch.rand(encoder.dim))
        self.projection = nn.Linear(encoder.dim, label_dim)
        self.labels = nn.Parameter(torch.randn(k, label_dim))

    def forward(self, waves: Tensor, masked: Tensor | None = None) -> Tensor:
        """Return logits ``(B, N, K)`` of waveforms ``(B, T)`` whose frames ``masked`` ``(B, N)`` are hidden, if any."""
        return self.logits(self.projection(self.encoder.predict(waves, masked, self.replacement)))

    def logits(self, projected: Tensor) -> Tensor:
        """Return logits ``(B, N, K)`` of projected frames ``(B, N, label_dim)``."""
        cosines = F.normalize(projected, dim=-1) @ F.normalize(self.labels, dim=-1).T
        return cosines / self.temperature
