"""The reach of a HiFi-GAN: the context with which a piece comes out as in the whole."""

from __future__ import annotations

from typing import Any


def vocoder_reach(vocoder: Any) -> int:
    """Return the input frames on either side that a HiFi-GAN's waveform under one frame can depend on, or more."""
    reach = vocoder.conv_post.kernel_size[0] // 2
    for stage in reversed(range(len(vocoder.ups))):
        blocks = vocoder.resblocks[stage * vocoder.branches : (stage + 1) * vocoder.branches]
        reach += max(_block_reach(block) for block in blocks)
        up = vocoder.ups[stage]
        reach = -(-(reach + up.kernel_size[0]) // up.stride[0])
    reach += vocoder.conv_pre.kernel_size[0] // 2
    # What enters by the source passes its own filter first, then at most the same convolutions.
    return reach if vocoder.source is None else reach + vocoder.source.REACH


def _block_reach(block: Any) -> int:
    return sum(conv.padding[0] for conv in [*block.convs1, *block.convs2])
