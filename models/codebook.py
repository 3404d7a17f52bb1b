"""Vector quantisation by exponential moving averages with random restarts (Dhariwal et al. 2020, section 3)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, one_hot

from models import distributed


class Quantised(NamedTuple):
    """Result of a quantisation of ``(B, D, T)`` vectors."""

    codes: Tensor
    """``(B, T)`` int64."""
    vectors: Tensor
    """``(B, D, T)``; gradients pass straight through to the input."""
    commit_loss: Tensor
    """Mean squared distance of the inputs to their codes."""
    entropy: Tensor
    """Of the code distribution of this batch (in training that of all processes), in nats."""


class Codebook(nn.Module):
    """``size`` codes of ``dim`` values, moved by running means of the vectors that chose them.

    Everything it learns from is a buffer, so that a resumed training equals an unbroken one. A code whose running
    count falls below 1 restarts at a random vector of the batch; the first training batch initialises all of them.
    Several processes learn from their joint batch, each the same, if their random numbers are (Dhariwal et al. reduce
    the sums instead, and draw restarts from one process's share).
    """

    codes: Tensor
    running_sum: Tensor
    running_count: Tensor
    initialised: Tensor

    def __init__(self, size: int, dim: int, decay: float = 0.99) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("codes", torch.zeros(size, dim))
        self.register_buffer("running_sum", torch.zeros(size, dim))
        self.register_buffer("running_count", torch.ones(size))
        self.register_buffer("initialised", torch.tensor(False))

    def forward(self, x: Tensor) -> Quantised:
        """Quantise ``(B, D, T)`` vectors; in training the codes follow them afterwards."""
        flat = x.transpose(1, 2).reshape(-1, x.shape[1])
        everyone = distributed.joint(flat.detach()) if self.training else flat.detach()
        if self.training and not self.initialised:
            self._initialise(everyone)
        chosen_by_all = self.nearest(everyone)
        codes = distributed.own(chosen_by_all) if self.training else chosen_by_all
        vectors = embedding(codes, self.codes).view(x.shape[0], x.shape[2], -1).transpose(1, 2)
        commit = (vectors.detach() - x).square().mean()
        chosen = one_hot(chosen_by_all, len(self.codes)).to(flat.dtype)
        share = chosen.mean(0)
        if self.training:
            self._update(everyone, chosen)
        entropy = -(share * torch.log(share + 1e-8)).sum()
        return Quantised(codes.view(x.shape[0], -1), x + (vectors - x).detach(), commit, entropy)

    def encode(self, x: Tensor) -> Tensor:
        """Return the codes of ``(B, D, T)`` vectors, ``(B, T)`` int64; nothing is learnt from them."""
        return self.nearest(x.transpose(1, 2).reshape(-1, x.shape[1])).view(x.shape[0], -1)

    def nearest(self, flat: Tensor) -> Tensor:
        """Return the index of the code at least squared distance: ``(N, dim)`` to ``(N,)`` int64."""
        squares = flat.square().sum(1, keepdim=True)
        return (squares - 2 * flat @ self.codes.t() + self.codes.square().sum(1)).argmin(1)

    @torch.no_grad()
    def _initialise(self, flat: Tensor) -> None:
        self.codes.copy_(self._candidates(flat))
        self.running_sum.copy_(self.codes)
        self.running_count.fill_(1.0)
        self.initialised.fill_(True)

    @torch.no_grad()
    def _update(self, flat: Tensor, chosen: Tensor) -> None:
        batch_sum, batch_count = chosen.t() @ flat, chosen.sum(0)
        self.running_sum.mul_(self.decay).add_(batch_sum, alpha=1 - self.decay)
        self.running_count.mul_(self.decay).add_(batch_count, alpha=1 - self.decay)
        used = (self.running_count >= 1.0).unsqueeze(1)
        means = self.running_sum / self.running_count.clamp(min=1e-8).unsqueeze(1)
        self.codes.copy_(torch.where(used, means, self._candidates(flat)))

    def _candidates(self, flat: Tensor) -> Tensor:
        """Draw a random vector of the batch for each code; slightly shaken copies when the batch is too small."""
        size, dim = self.codes.shape
        repeats = -(-size // len(flat))
        if repeats > 1:
            flat = flat.repeat(repeats, 1)
            flat = flat + torch.randn_like(flat) * (0.01 / dim**0.5)
        return flat[torch.randperm(len(flat), device=flat.device)[:size]].to(self.codes.dtype)
