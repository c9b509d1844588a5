"""Layers of traced graphs for an engine that keeps channels innermost, as OpenVINO does for its convolutions.

A layer that needs pixels innermost, such as a group norm over a reshaped tensor, costs two more passes over all
numbers there, which change the layout and change it back. Layers here reduce over pixels, work on single numbers, or
convolve, and keep the layout. A video is (batch, channels, frames, height, width) throughout, so that convolutions
over pixels, over frames and over both need no transpose between them.
"""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import nn

# Pictures of which a change of the layout costs little: a group norm by means saves a tenth of convolutions with norms
# between them, against a third and more of larger ones.
FEW_PIXELS = 64 * 64
_CHANNELS_LAST = contextvars.ContextVar("channels last", default=False)


@contextlib.contextmanager
def channels_last(is_so: bool) -> Iterator[None]:
    """Have graphs that are traced meanwhile keep channels innermost."""
    token = _CHANNELS_LAST.set(is_so)
    try:
        yield
    finally:
        _CHANNELS_LAST.reset(token)


def is_channels_last() -> bool:
    """True while a graph is traced for an engine that keeps channels innermost."""
    return _CHANNELS_LAST.get() and not paddle.in_dynamic_mode()


def group_norm(x: paddle.Tensor, norm: nn.GroupNorm, by_frame: bool = False) -> paddle.Tensor:
    """Group norm by means over pixels.

    Args:
        x: (batch, channels, ..., height, width).
        norm: whose groups, epsilon and parameters are used.
        by_frame: True to normalise each frame of (batch, channels, frames, height, width) by itself.

    Returns:
        A tensor as `x`.
    """
    batch, channels = x.shape[:2]
    groups, frames = norm._num_groups, x.shape[2] if by_frame else 1
    axes = list(range(3 if by_frame else 2, x.ndim))
    column = [channels, *[1] * (x.ndim - 2)]

    def of_groups(means: paddle.Tensor) -> paddle.Tensor:  # of each channel -> of its group
        grouped = [batch, groups, channels // groups, frames]
        return means.reshape(grouped).mean(2, keepdim=True).expand(grouped).reshape(means.shape)

    mean = of_groups(x.mean(axes, keepdim=True))  # (batch, channels, 1 or frames, 1, 1)
    # Not the mean of squares less the square of the mean, which half precision is too coarse for.
    variance = of_groups((x - mean).square().mean(axes, keepdim=True))
    weight, bias = (parameter.astype(x.dtype).reshape(column) for parameter in (norm.weight, norm.bias))
    scale = (variance + norm._epsilon).rsqrt() * weight
    return x * scale + (bias - mean * scale)


def over_pixels(x: paddle.Tensor, layer: nn.Conv2D) -> paddle.Tensor:
    """A convolution of each frame: (batch, channels, frames, height, width) -> (batch, filters, frames, ...)."""
    padding: Any = layer._padding if isinstance(layer._padding, (list, tuple)) else [layer._padding] * 2
    weight = layer.weight.astype(x.dtype).unsqueeze(2)  # (filters, channels, 1, k, k)
    bias = None if layer.bias is None else layer.bias.astype(x.dtype)
    return F.conv3d(x, weight, bias, padding=[0, *padding])


def twice_the_size(x: paddle.Tensor) -> paddle.Tensor:
    """(batch, channels, frames, h, w) -> (batch, channels, frames, 2h, 2w), each pixel repeated."""
    frames, height, width = x.shape[2:]
    return F.interpolate(x, [frames, 2 * height, 2 * width], mode="nearest", data_format="NCDHW")
