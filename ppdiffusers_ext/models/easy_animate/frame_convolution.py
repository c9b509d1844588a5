"""Convolutions over frames and pixels, as sums of convolutions over pixels.

A video is taken frame by frame, so that frames can be made when they are needed and forgotten when they were seen.
Paddle's own convolution (3.3) takes two to three times as long on a CPU, and memory for the surroundings of all pixels
of all frames at one time: 17 GB for eight frames of 256x256 with 256 channels.
"""

from collections.abc import Iterable, Iterator

import paddle
import paddle.nn.functional as F

# Numbers that a convolution over pixels gathers at one time on a CPU, the surroundings of pixels: 64 MB of floats.
MAX_GATHERED = 16 * 2**20


def convolve_frames(
    frames: Iterable[paddle.Tensor],
    count: int,
    weight: paddle.Tensor,
    bias: paddle.Tensor,
    stride: tuple[int, int],
    padding: int,
    zeros: int,
) -> list[paddle.Tensor]:
    """A convolution over frames and pixels.

    Args:
        frames: iterable of (batch, channels, height, width).
        count: how many.
        weight, bias: (filters, channels, k, k, k) and (filters,).
        stride: (in time, in space).
        padding: zeros around pixels.
        zeros: frames of zeros that stand before and after.

    Returns:
        A list of (batch, filters, height', width').
    """
    taps, step = weight.shape[2], stride[0]
    sums: list = [None] * ((count + 2 * zeros - taps) // step + 1)  # of lists of strips
    for i, frame in enumerate(frames, start=zeros):
        # A frame is seen by several results: what it gives to all of them is computed together.
        seen = [(k, (i - k) // step) for k in range(taps) if (i - k) % step == 0 and 0 <= (i - k) // step < len(sums)]
        if not seen:
            continue
        filters = paddle.concat([weight[:, :, k] for k, _ in seen])  # (taps * filters, channels, k, k)
        strips = [strip.chunk(len(seen), axis=1) for strip in _convolve(frame, filters, stride[1], padding)]
        for (_, result), parts in zip(seen, zip(*strips)):
            before = sums[result]
            sums[result] = [
                _shifted(part, bias) if before is None else before[j] + part for j, part in enumerate(parts)
            ]
    return [parts[0] if len(parts) == 1 else paddle.concat(parts, axis=2) for parts in sums]


def _convolve(x: paddle.Tensor, weight: paddle.Tensor, stride: int, padding: int) -> Iterator[paddle.Tensor]:
    """(batch, channels, height, width) -> strips of (batch, filters, rows, width'), several on a CPU."""
    kernel = weight.shape[2]
    height, width = ((side + 2 * padding - kernel) // stride + 1 for side in x.shape[2:])
    rows = max(1, MAX_GATHERED // (x.shape[1] * kernel**2 * width))
    if rows >= height or not paddle.in_dynamic_mode() or not x.place.is_cpu_place():
        yield F.conv2d(x, weight, stride=stride, padding=padding)
        return
    x = F.pad(x, [padding] * 4)
    for i in range(0, height, rows):
        last = min(i + rows, height) - 1
        yield F.conv2d(x[:, :, i * stride : last * stride + kernel], weight, stride=stride)


def _shifted(x: paddle.Tensor, bias: paddle.Tensor) -> paddle.Tensor:
    """(batch, channels, height, width) + (channels,): as a matrix and a column, which is quickest on a CPU."""
    batch, channels = x.shape[:2]
    column = bias.unsqueeze(0).expand([batch, channels]).reshape([batch * channels, 1])
    return (x.reshape([batch * channels, -1]) + column).reshape(x.shape)
