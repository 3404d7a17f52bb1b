"""ResNeXt for spectrograms of digits: aggregated residual transformations (Xie et al. 2017), as for 32 x 32 images.

The judge of generated digits (Baas & Kamper 2022, section 4; SaShiMi's benchmark, Goel et al. 2022): depth 29, 8 groups
of base width 64, widened 4 times, over the log-mel of one second. B: batch, C: channels.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import relu


class Block(nn.Module):
    """A bottleneck of grouped convolutions and its shortcut.

    Args:
        inputs: channels in.
        outputs: channels out.
        inner: channels of the grouped convolution.
        groups: the cardinality.
        stride: of the grouped convolution.
    """

    def __init__(self, inputs: int, outputs: int, inner: int, groups: int, stride: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            nn.Conv2d(inputs, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(inplace=True),
            nn.Conv2d(inner, inner, 3, stride, 1, groups=groups, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(inplace=True),
            nn.Conv2d(inner, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        plain = inputs == outputs and stride == 1
        shortcut = (nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        self.shortcut = nn.Identity() if plain else nn.Sequential(*shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, outputs, H / stride, W / stride)``."""
        return relu(self.path(x) + self.shortcut(x))


class DigitClassifier(nn.Module):
    """Classifier of ten digits from log-mels in decibels, ``(B, 1, 32, 32)``; the defaults are the published sizes.

    Args:
        depth: layers, 9 n + 2.
        groups: the cardinality.
        base_width: inner channels of a group at 64 channels of a stage.
        widen: outputs of the first stage over ``channels``; the next two have twice and four times as many.
        channels: of the first convolution.
    """

    def __init__(
        self, depth: int = 29, groups: int = 8, base_width: int = 64, widen: int = 4, channels: int = 64
    ) -> None:
        super().__init__()
        if (depth - 2) % 9:
            raise ValueError(f"depth must be 9 n + 2, not {depth}")
        self.head = nn.Sequential(
            nn.Conv2d(1, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
        )
        blocks: list[nn.Module] = []
        inputs = channels
        for stage in range(3):
            outputs = channels * widen * 2**stage
            for place in range((depth - 2) // 9):
                stride = 2 if stage and not place else 1
                blocks.append(Block(inputs, outputs, groups * base_width * 2**stage, groups, stride))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.classes = nn.Linear(inputs, 10)

    def features(self, mel: Tensor) -> Tensor:
        """Return the last layer's input: ``(B, 1, 32, 32)`` to ``(B, 4 channels widen)``, 1024 as published."""
        # Decibels below the loudest, -80 to 0, brought near to what convolutions are initialised for.
        return self.blocks(self.head(mel / 40 + 1)).mean((2, 3))

    def forward(self, mel: Tensor) -> Tensor:
        """Return logits ``(B, 10)`` of zero to nine."""
        return self.classes(self.features(mel))
