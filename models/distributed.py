"""Exchange between the processes of one training; one that is alone exchanges nothing.

Each has its share of every batch, in the order of their ranks. Gradients are averaged after each backward pass, for the
two optimisers of a GAN take turns, and each pass has gradients for half of the parameters only.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn


def world() -> int:
    """Return how many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return the place of this process among them, from 0."""
    return dist.get_rank() if world() > 1 else 0


def joint(share: Tensor) -> Tensor:
    """Gather ``(N, ...)`` of this process into ``(world * N, ...)`` of all, without gradients."""
    if world() == 1:
        return share
    share = share.detach().contiguous()
    shares = [torch.empty_like(share) for _ in range(world())]
    dist.all_gather(shares, share)
    return torch.cat(shares)


def own(whole: Tensor) -> Tensor:
    """Return the part that this process put into :func:`joint`: ``(world * N, ...)`` to ``(N, ...)``."""
    share = len(whole) // world()
    return whole[rank() * share : (rank() + 1) * share]


def mean(values: Tensor) -> Tensor:
    """Average a tensor over the processes, element by element and in place."""
    if world() > 1:
        dist.all_reduce(values)
        values /= world()
    return values


def largest(value: int, device: torch.device) -> int:
    """Return the largest of the processes' numbers."""
    if world() == 1:
        return value
    tensor = torch.tensor(value, device=device)
    dist.all_reduce(tensor, dist.ReduceOp.MAX)
    return int(tensor)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Make the gradients those of the joint batch, where losses are means over equal shares."""
    if world() == 1:
        return
    grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = mean(torch.cat([grad.flatten() for grad in grads]))
    for grad, averaged in zip(grads, flat.split([grad.numel() for grad in grads]), strict=True):
        grad.copy_(averaged.view_as(grad))


def require_agreement(module: nn.Module) -> None:
    """Check that all processes hold the same weights and codebooks, bit for bit.

    Raises:
        AssertionError: names the first tensor that differs.
    """
    if world() == 1:
        return
    state = {name: value for name, value in module.state_dict().items() if torch.is_tensor(value)}
    # Two sums of a tensor's bits as integers: equal ones have equal sums, and what rounding changed has not.
    sums = torch.stack([_bit_sums(value) for value in state.values()])
    everywhere = joint(sums).view(world(), *sums.shape)
    for name, found in zip(state, (everywhere == sums).all(2).all(0).tolist(), strict=True):
        assert found, f"the training processes disagree on '{name}'"


def _bit_sums(value: Tensor) -> Tensor:
    bits = value.detach().contiguous().view(-1).view(torch.uint8).to(torch.int64)
    return torch.stack([bits.sum(), (bits * (torch.arange(len(bits), device=bits.device) % 8191)).sum()])
