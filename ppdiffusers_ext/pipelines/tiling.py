"""Pictures to latents and latents to pictures in overlapping tiles, so that the network needs memory for a tile only.

The autoencoder's norms are then taken over each tile instead of the whole picture, which changes the result a little;
linear blends over the overlaps hide the seams.
"""

import math
from collections.abc import Callable
from typing import Any

import paddle

from ppdiffusers_ext.pipelines.options import LEAST_TILE

_OVERLAP = 4  # part of a tile: a fourth


def tile_of(vae: Any) -> int:
    """The side of the tiles, in pixels, that ppdiffusers' `AutoencoderKL` was told to work in; 0 for none."""
    return max(int(vae.tile_sample_min_size), LEAST_TILE) if vae.use_tiling else 0


def untiled(vae: Any, function: Callable[[paddle.Tensor], paddle.Tensor]) -> Callable[[paddle.Tensor], paddle.Tensor]:
    """A function of ppdiffusers' `AutoencoderKL`, which then does without its own tiles: `in_tiles` makes them.

    So the function is the same for every setting, and an engine can export it: the VAE's own blends of tiles write
    into tensors, which exports do not see.
    """

    def call(x: paddle.Tensor) -> paddle.Tensor:
        before, vae.use_tiling = vae.use_tiling, False
        try:
            return function(x)
        finally:
            vae.use_tiling = before

    return call


def tile_starts(length: int, tile: int) -> list[int]:
    """Where tiles begin that cover a length, evenly spread: a list of int, of one for a tile of the length or more."""
    if tile <= 0 or tile >= length:
        return [0]
    overlap = tile // _OVERLAP
    count = math.ceil((length - overlap) / (tile - overlap))
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def in_tiles(
    function: Callable[[paddle.Tensor], paddle.Tensor],
    x: paddle.Tensor,
    tile: int,
    scale_in: int = 1,
    scale_out: int = 1,
) -> paddle.Tensor:
    """A function of a picture, tile by tile.

    Args:
        function: (batch, channels, a * scale_in, b * scale_in) -> (batch, other channels, a * scale_out,
            b * scale_out) for any a and b; it is called with one shape only.
        x: (batch, channels, height * scale_in, width * scale_in).
        tile: side of the tiles in units of the height and the width; 0 for none.

    Returns:
        (batch, other channels, height * scale_out, width * scale_out): each pixel a mean over the tiles that have it,
        with weights that fall linearly towards the edges.
    """
    height, width = (side // scale_in for side in x.shape[2:])
    rows, columns = tile_starts(height, tile), tile_starts(width, tile)
    if len(rows) == len(columns) == 1:
        return function(x)
    tall, wide = (min(tile, side) for side in (height, width))
    total: Any = None
    weights: Any = None
    for top in rows:
        for left in columns:
            part = x[
                :, :, top * scale_in : (top + tall) * scale_in, left * scale_in : (left + wide) * scale_in
            ]  # (batch, channels, tall * scale_in, wide * scale_in)
            result = function(part)  # (batch, other channels, tall * scale_out, wide * scale_out)
            if total is None:
                shape = [*result.shape[:2], height * scale_out, width * scale_out]
                total, weights = paddle.zeros(shape, result.dtype), paddle.zeros([1, 1, *shape[2:]], result.dtype)
            weight = _ramp(tall * scale_out, tall < height).unsqueeze(1) * _ramp(wide * scale_out, wide < width)
            place = (
                slice(None),
                slice(None),
                slice(top * scale_out, (top + tall) * scale_out),
                slice(left * scale_out, (left + wide) * scale_out),
            )
            weight = weight.astype(result.dtype)  # (tall * scale_out, wide * scale_out)
            total[place] += result * weight
            weights[place] += weight
    return total / weights


def _ramp(length: int, falls: bool) -> paddle.Tensor:
    """Weights (length,) of a tile's pixels along one axis: 1, and falling over the overlap towards both edges."""
    if not falls:
        return paddle.ones([length])
    distance = paddle.minimum(paddle.arange(length), paddle.arange(length - 1, -1, -1)).astype("float32") + 0.5
    return (distance / (length // _OVERLAP)).clip(max=1)
