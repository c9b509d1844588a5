"""A UNet's blocks one after the other, or the outermost of its units alone on what the others gave before."""

from typing import Any

import paddle
from paddle import nn


def through_blocks(
    unet: nn.Layer, x: paddle.Tensor, conditions: Any, depth: int = 0, deep: paddle.Tensor | None = None
) -> tuple[paddle.Tensor, dict[str, paddle.Tensor], paddle.Tensor]:
    """All blocks; or the outermost units alone, on what the others gave in an earlier step.

    Deep features hardly change from one step to the next (DeepCache, Ma et al. 2023, arXiv:2312.00858).

    Args:
        unet: with `down_blocks`, `mid_block` and `up_blocks`. A down block is called with (x, conditions, units=None)
            and returns x, a list of skips and a dict of features; the mid block with (x, conditions) and returns x and
            features; an up block with (x, skips, conditions, units=None), of which it takes the last skips away, and
            returns x and features.
        x: (batch*frames, block_out_channels[0], h, w).
        depth: units of the last up block that run in any case, with the units of the first down block whose skip
            connections they take.
        deep: what entered these units in an earlier step: (batch*frames, channels, h, w); computed if left out.

    Returns:
        x of the same shape, dict of the features of all blocks that ran, and what entered the last units.
    """
    features, skips, last = {}, [x], unet.up_blocks[-1]
    first = len(last.resnets) - depth
    if deep is None:
        for block in unet.down_blocks:
            x, block_skips, block_features = block(x, conditions)  # (batch*frames, width, h / 2^i, w / 2^i)
            skips += block_skips
            features.update(block_features)
        x, mid_features = unet.mid_block(x, conditions)
        features.update(mid_features)
        for block in unet.up_blocks[:-1]:
            x, block_features = block(x, skips, conditions)  # (batch*frames, width, h / 2^i, w / 2^i)
            features.update(block_features)
        deep, block_features = last(x, skips, conditions, range(first))  # (batch*frames, channels, h, w)
        features.update(block_features)
    else:
        skips += unet.down_blocks[0](x, conditions, units=depth - 1)[1]
    x, block_features = last(deep, skips, conditions, range(first, len(last.resnets)))
    features.update(block_features)
    return x, features, deep  # x (batch*frames, width_0, h, w)
