"""Frames resized to cover a size, of which the middle is cut out, in fp32.

Bilinear with antialiasing, as torchvision's `Resize` of tensors and Pillow do it; Pillow's of 8 bits rounds twice, and
its fp32 takes four times as long.
"""

from functools import lru_cache

import numpy as np


def resize_middle(frame: np.ndarray, size: tuple[int, int], covering: tuple[int, int]) -> np.ndarray:
    """The middle of a frame that is resized to cover a size: (3, height, width) fp32 in [-1, 1].

    Args:
        frame: (H, W, 3) uint8.
        size: (height, width), pixels.
        covering: (height, width) to which it is resized, at least `size`; see `Bucket.cover`.
    """
    rows, of_rows = _taps(frame.shape[0], covering[0], size[0])
    columns, of_columns = _taps(frame.shape[1], covering[1], size[1])
    part = frame[rows[0, 0] : rows[-1, -1] + 1].astype(np.float32)  # (H, W, 3)
    lines = _weigh(part.reshape(len(part), -1), rows - rows[0, 0], of_rows)  # (height, W * 3)
    planes = np.ascontiguousarray(lines.reshape(size[0], -1, 3).transpose(1, 2, 0))  # (W, 3, height)
    pixels = _weigh(planes.reshape(len(planes), -1), columns, of_columns).reshape(size[1], 3, size[0])
    return pixels.transpose(1, 2, 0) / np.float32(127.5) - 1


def _weigh(lines: np.ndarray, numbers: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(n, ...) lines -> (m, ...): sums of the lines with these numbers, (m, taps), times weights."""
    total = lines[numbers[:, 0]] * weights[:, :1]
    for tap in range(1, numbers.shape[1]):
        total += lines[numbers[:, tap]] * weights[:, tap : tap + 1]
    return total


@lru_cache(256)
def _taps(side: int, covering: int, cut: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each pixel of the middle `cut` of `covering` pixels: numbers and weights of the pixels it is made of.

    Returns:
        two arrays (cut, taps), int64 and fp32; numbers increase, those outside have no weight.
    """
    scale = side / covering
    reach = max(scale, 1.0)  # half the width of the triangle
    first = round((covering - cut) / 2)
    centres = (np.arange(first, first + cut) + 0.5) * scale
    lowest = np.maximum((centres - reach + 0.5).astype(np.int64), 0)
    numbers = lowest[:, None] + np.arange(int(np.ceil(reach)) * 2 + 1)
    weights = np.maximum(1 - np.abs(numbers + 0.5 - centres[:, None]) / reach, 0) * (numbers < side)
    weights /= weights.sum(axis=1, keepdims=True)
    return np.minimum(numbers, side - 1), weights.astype(np.float32)
