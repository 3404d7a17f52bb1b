"""Convolutions with long kernels over many channels by Fourier transform: for synthesis on a processor.

A matrix of channels for each frequency costs 2.8 products an output and channel with 11 taps, where the taps
themselves cost 11. B: batch, C: channels, T: frames, K: taps.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIZE = 32  # points of a transform
PIECE = 2**19  # numbers that are transformed at once: they stay in the processor's cache
# Where it pays: a transform costs the same for a short kernel as for a long one, and for few channels as much as they.
FEWEST_TAPS, FEWEST_PRODUCTS = 7, 350


def pays(conv: nn.Conv1d) -> bool:
    """Tell whether the convolution is faster this way, and can go it: on a processor, in float32."""
    taps, weight = conv.kernel_size[0], conv.weight
    fits = FEWEST_TAPS <= taps <= SIZE // 2 and conv.in_channels * taps >= FEWEST_PRODUCTS
    return fits and weight.device.type == "cpu" and weight.dtype == torch.float32


class FourierConvolution:
    """A ``Conv1d`` of stride 1 with its weights of this moment, without gradients; the same up to rounding.

    Overlap-save: of a block's ``SIZE`` frames, ``dilation`` apart, those count that no wrap-around reached. The
    transform is real, cosines and then sines, and a matrix itself: it is as small as the blocks are many.
    """

    def __init__(self, conv: nn.Conv1d) -> None:
        spectrum = torch.fft.rfft(conv.weight.detach().double(), n=SIZE).conj().permute(2, 1, 0)
        self.cosines = spectrum.real.float().contiguous()  # (SIZE / 2 + 1, C, C')
        self.sines = spectrum.imag[1:-1].float().contiguous()  # (SIZE / 2 - 1, C, C'): the others are zero
        self.bias = torch.zeros(()) if conv.bias is None else conv.bias.detach()
        self.hop, self.dilation, self.padding = SIZE - conv.kernel_size[0] + 1, conv.dilation[0], int(conv.padding[0])
        transform = _transform()
        self.forth = transform.float()
        self.back = torch.linalg.inv(transform)[: self.hop].float().contiguous()

    def __call__(self, x: Tensor) -> Tensor:
        """Convolve ``(B, C, T)`` to ``(B, C', T)``, in memory frame after frame: fastest where the argument is, too."""
        count, step = x.shape[2], self.hop * self.dilation
        blocks = -(-count // step)
        total = (blocks - 1) * step + SIZE * self.dilation
        padded = F.pad(x.transpose(1, 2), (0, 0, self.padding, total - self.padding - count))
        out = x.new_empty(len(x), blocks, self.hop, self.dilation, self.cosines.shape[2])
        at_once = max(1, PIECE // (SIZE * self.dilation * x.shape[1]))
        for row, made in zip(padded, out, strict=True):
            for start in range(0, blocks, at_once):
                self._convolve(row[start * step :], made[start : start + at_once])
        return out.flatten(1, 3)[:, :count].transpose(1, 2)

    def _convolve(self, frames: Tensor, out: Tensor) -> None:
        """Convolve blocks of the frames ``(T, C)`` into ``out`` ``(blocks, hop, dilation, C')``."""
        blocks, hop, dilation, _ = out.shape
        width = dilation * frames.shape[1]
        strides = (width, hop * width, 1)
        windows = frames.as_strided((SIZE, blocks, width), strides, frames.storage_offset()).flatten(1)
        spectrum = (self.forth @ windows).view(SIZE, blocks * dilation, -1)
        cosines, sines = spectrum.split([SIZE // 2 + 1, SIZE // 2 - 1])
        product = frames.new_empty(SIZE, blocks * dilation, out.shape[3])
        real, imaginary = product.split([SIZE // 2 + 1, SIZE // 2 - 1])
        torch.bmm(cosines, self.cosines, out=real)
        real[1:-1].baddbmm_(sines, self.sines, alpha=-1)
        torch.bmm(sines, self.cosines[1:-1], out=imaginary)
        imaginary.baddbmm_(cosines[1:-1], self.sines)
        waves = (self.back @ product.flatten(1)).view(hop, blocks, dilation, -1)
        torch.add(waves.transpose(0, 1), self.bias, out=out)


def _transform() -> Tensor:
    """Return the real Fourier transform ``(SIZE, SIZE)``: cosines of all frequencies, then their sines but zeros."""
    times = torch.arange(SIZE, dtype=torch.float64)
    angles = 2 * torch.pi / SIZE * torch.arange(SIZE // 2 + 1)[:, None] * times
    return torch.cat([torch.cos(angles), -torch.sin(angles)[1:-1]])
