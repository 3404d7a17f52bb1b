"""Durations of units (Lee et al. 2022, "Direct speech-to-speech translation with discrete units", section 3.3).

Units without their repetitions hold what is spoken, not how fast; a small network of their embeddings predicts for how
many frames of 20 ms each lasts.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.nn.utils.rnn import pad_sequence


class Runs(NamedTuple):
    """Units without repetitions: ``units`` and ``lengths`` ``(B, R)`` int64, 0 beyond an item's last run."""

    units: Tensor
    lengths: Tensor


class DurationPredictor(nn.Module):
    """Predictor of durations: two convolutions and a linear layer on embeddings ``(B, R, dim)``."""

    def __init__(self, dim: int = 128, hidden: int = 128, kernel: int = 3, dropout: float = 0.5) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv1d(dim, hidden, kernel, padding=kernel // 2), nn.ReLU())
        self.ln1 = nn.LayerNorm(hidden)
        self.conv2 = nn.Sequential(nn.Conv1d(hidden, hidden, kernel, padding=kernel // 2), nn.ReLU())
        self.ln2 = nn.LayerNorm(hidden)
        self.proj = nn.Linear(hidden, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, embedded: Tensor) -> Tensor:
        """Predict the natural logarithm of frames + 1: ``(B, R, dim)`` to ``(B, R)``."""
        x = self.dropout(self.ln1(self.conv1(embedded.transpose(1, 2)).transpose(1, 2)))
        x = self.dropout(self.ln2(self.conv2(x.transpose(1, 2)).transpose(1, 2)))
        return self.proj(x).squeeze(2)

    def frames(self, embedded: Tensor) -> Tensor:
        """Predict whole frames of each unit, at least one: ``(B, R, dim)`` to ``(B, R)`` int64."""
        return torch.round(torch.exp(self(embedded)) - 1).clamp(min=1).long()

    def loss(self, embedded: Tensor, lengths: Tensor) -> Tensor:
        """Return the mean squared error over the runs of a length above 0; 0 where there are none."""
        counted = lengths > 0
        if not counted.any():
            return embedded.new_zeros(())
        return mse_loss(self(embedded)[counted], torch.log1p(lengths[counted].to(embedded.dtype)))


def runs_of(units: Tensor) -> Runs:
    """Find the runs of equal units in ``(B, L)`` int64."""
    pairs = [torch.unique_consecutive(row, return_counts=True) for row in units]
    return Runs(*(pad_sequence(list(part), batch_first=True) for part in zip(*pairs, strict=True)))


def whole_runs(runs: Runs) -> Tensor:
    """Return lengths ``(B, R)`` with 0 for an item's first and last run, which a cut may have shortened.

    An item of one or two runs keeps them, as the published code does: there is nothing else to learn from.
    """
    lengths = runs.lengths.clone()
    counts = (lengths > 0).sum(1)
    rows = torch.nonzero(counts > 2).squeeze(1)
    lengths[rows, 0] = 0
    lengths[rows, counts[rows] - 1] = 0
    return lengths
