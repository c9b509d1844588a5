"""Weights that a UNet starts from where there are no trained ones: what it is given goes through it at once.

With the usual random weights, the sums and products of many layers leave little of the reference picture where it is
needed, and training is slow to bring it back. Here the second half of each residual block adds nothing at first (as in
Dhariwal and Nichol 2021, arXiv:2105.05233), so that what is left is the shortcuts, projections and changes of size.
These are orthogonal, so they keep lengths and angles (Saxe et al. 2013, arXiv:1312.6120), of each position alone, or
of those that become one. It is no part of the originals, which start from Stable Diffusion.
"""

import math

import paddle


def join(weight: paddle.Tensor, width: int, of_below: float, of_beside: float) -> None:
    """Begin an up block's shortcut as a sum of two feature maps, the first of them `width` channels wide."""
    channels, both = weight.shape[:2]
    parts = [of_below * orthogonal(channels, width), of_beside * orthogonal(channels, both - width)]
    weight.set_value(paddle.concat(parts, axis=1).reshape(weight.shape))


def turn(weight: paddle.Tensor) -> None:
    """Orthogonal: as a matrix of a row for each first index."""
    weight.set_value(orthogonal(weight.shape[0], math.prod(weight.shape[1:])).reshape(weight.shape))


def pass_through(weight: paddle.Tensor, gain: float = 1.0, side: int = 1) -> None:
    """Orthogonal from the middle of a kernel of 3x3 on, for so many positions to a side; 0 elsewhere."""
    channels, given = weight.shape[:2]
    kernel, seen = paddle.zeros(weight.shape), slice(1, 1 + side)
    kernel[:, :, seen, seen] = gain * orthogonal(channels, given * side**2).reshape([channels, given, side, side])
    weight.set_value(kernel)


def orthogonal(rows: int, columns: int) -> paddle.Tensor:
    """(rows, columns) with orthonormal rows or columns, whichever are fewer."""
    tall, _ = paddle.linalg.qr(paddle.randn([max(rows, columns), min(rows, columns)]))
    return tall if rows >= columns else tall.t()


def silence(weight: paddle.Tensor) -> None:
    weight.set_value(paddle.zeros_like(weight))
