"""Shrinking pictures as Stable Video Diffusion does it for CLIP: a Gaussian blur, then bicubic, corner to corner."""

import paddle
import paddle.nn.functional as F


def resize_with_antialiasing(x, size):
    """(batch, channels, H, W) -> (batch, channels, *size)."""
    for axis, target in zip((2, 3), size):
        x = _blur(x, axis, max((x.shape[axis] / target - 1) / 2, 0.001))
    return F.interpolate(x, size=list(size), mode="bicubic", align_corners=True)


def _blur(x, axis, sigma):
    """Along one axis, whose ends are mirrored; the kernel is 4 sigma wide, 3 numbers at least and an odd number."""
    width = int(max(4 * sigma, 3))
    width += 1 - width % 2
    places = paddle.arange(width, dtype="float32") - width // 2
    weights = paddle.exp(-(places**2) / (2 * sigma**2))
    weights = weights / weights.sum()
    shape, padding, half = [1, 1, 1, 1], [0, 0, 0, 0], width // 2
    shape[axis] = width
    padding[2 * (3 - axis) : 2 * (3 - axis) + 2] = [half, half]  # left, right, top, bottom
    batch, channels, height, breadth = x.shape
    x = F.pad(x.reshape([batch * channels, 1, height, breadth]), padding, mode="reflect")
    x = F.conv2d(x, weights.reshape(shape))
    return x.reshape([batch, channels, *x.shape[2:]])
