"""Resampling stacks of residual convolutions (Dhariwal et al. 2020, section 3 and appendix B.1), down and up."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import relu


class ResidualConv(nn.Module):
    """Residual block: ReLU, dilated convolution, ReLU, pointwise convolution, plus the input."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.dilated = nn.Conv1d(width, width, 3, dilation=dilation, padding=dilation)
        self.pointwise = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, width, T)`` to the same shape."""
        return x + self.pointwise(relu(self.dilated(relu(x))))


class Resampling(nn.Module):
    """One resampling convolution with a stack of residual ones: after it when going down, before it when going up."""

    def __init__(self, conv: nn.Module, width: int, depth: int, growth: int, down: bool) -> None:
        super().__init__()
        self.down = down
        self.conv = conv
        self.residual = nn.Sequential(*(ResidualConv(width, growth**level) for level in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, T)`` to ``(B, C', T / stride)`` going down, ``T * stride`` going up."""
        return self.residual(self.conv(x)) if self.down else self.conv(self.residual(x))


def down_stack(channels: int, width: int, out_dim: int, strides: Sequence[int], depth: int, growth: int) -> nn.Module:
    """Build a stack from ``(B, channels, T)`` to ``(B, out_dim, T / prod(strides))``: a resampling for each stride."""
    blocks: list[nn.Module] = []
    for stride in strides:
        conv = nn.Conv1d(width if blocks else channels, width, *_kernel(stride))
        blocks.append(Resampling(conv, width, depth, growth, down=True))
    return nn.Sequential(*blocks, nn.Conv1d(width, out_dim, 3, padding=1))


def up_stack(channels: int, width: int, in_dim: int, strides: Sequence[int], depth: int, growth: int) -> nn.Module:
    """Build a stack from ``(B, in_dim, L)`` to ``(B, channels, L * prod(strides))``, :func:`down_stack` mirrored."""
    blocks: list[nn.Module] = []
    for level, stride in enumerate(strides):
        after = in_dim if level == len(strides) - 1 else width
        blocks.append(Resampling(nn.ConvTranspose1d(width, after, *_kernel(stride)), width, depth, growth, down=False))
    return nn.Sequential(nn.Conv1d(in_dim, width, 3, padding=1), *blocks, nn.Conv1d(in_dim, channels, 3, padding=1))


def _kernel(stride: int) -> tuple[int, int, int]:
    """Return kernel, stride and padding: 2s and s / 2 for even strides s, 2s + 1 and s // 2 + 1 for odd ones."""
    return (2 * stride, stride, stride // 2) if stride % 2 == 0 else (2 * stride + 1, stride, stride // 2 + 1)
