"""Positions of tokens in EasyAnimate's transformers: fixed tables of sines and cosines, and rotations.

From EasyAnimate (Xu et al. 2024, arXiv:2405.18991) in the form of aigc-apps/EasyAnimate (`easyanimate/models`), after
Hunyuan-DiT (Li et al. 2024, arXiv:2405.08748) and RoFormer (Su et al. 2021, arXiv:2104.09864).
"""

import math

import numpy as np
import paddle
import paddle.nn.functional as F

_BASE = 10000.0


def frame_table(frames: int, channels: int) -> paddle.Tensor:
    """(frames, channels) fp32: sine and cosine in turn, of each frame's number."""
    frequencies = np.exp(np.arange(0, channels, 2) * (-math.log(_BASE) / channels))
    angles = np.arange(frames)[:, None] * frequencies  # (frames, channels / 2)
    table = np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(frames, -1)[:, :channels]
    return paddle.to_tensor(table.astype(np.float32))


def grid_table(height: int, width: int, channels: int, steps: tuple[float, float] = (1.0, 1.0)) -> paddle.Tensor:
    """(height * width, channels) fp32 of a grid: half of the channels tell the column, half the row.

    steps: from one row to the next, and from one column to the next.
    """
    rows, columns = (np.arange(count, dtype=np.float32) * step for count, step in zip((height, width), steps))
    rows, columns = np.meshgrid(rows, columns, indexing="ij")
    halves = [_line_table(places.reshape(-1), channels // 2) for places in (columns, rows)]
    return paddle.to_tensor(np.concatenate(halves, axis=1).astype(np.float32))


def _line_table(places: np.ndarray, channels: int) -> np.ndarray:
    """(n,) -> (n, channels): all sines, then all cosines."""
    frequencies = 1.0 / _BASE ** (np.arange(channels // 2) / (channels / 2.0))
    angles = places[:, None] * frequencies
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


def resize_grid(table: paddle.Tensor, count: int) -> paddle.Tensor:
    """A table of a square grid, (n, channels), for another square grid of `count` places, by bicubic interpolation."""
    side, other = math.isqrt(table.shape[0]), math.isqrt(count)
    if side == other:
        return table
    square = table.reshape([1, side, side, -1]).transpose([0, 3, 1, 2])  # (1, channels, side, side)
    square = F.interpolate(square, [other, other], mode="bicubic", align_corners=False)
    return square.transpose([0, 2, 3, 1]).reshape([other * other, -1])


def rotations(height: int, width: int, channels: int, base: int) -> tuple[paddle.Tensor, paddle.Tensor]:
    """What rotates queries and keys of the tokens of a frame: cosines and sines, (height * width, channels) fp32 each.

    The grid is fitted into the square that the network was trained on, keeping its shape. Half of the channels turn
    with the column, half with the row.

    Args:
        height, width: of the grid of tokens.
        channels: of an attention head, a multiple of 4.
        base: side of the square in tokens.
    """
    rows, columns = (
        _places(start, stop, size) for (start, stop), size in zip(fit_grid(height, width, base), (height, width))
    )
    frequencies = 1.0 / _BASE ** (np.arange(0, channels // 2, 2, dtype=np.float32) / (channels // 2))
    rows, columns = np.meshgrid(rows, columns, indexing="ij")
    of_axes = [np.outer(places.reshape(-1), frequencies) for places in (columns, rows)]
    angles = np.concatenate(of_axes, axis=1).repeat(2, axis=1)  # (height * width, channels)
    cosines, sines = (paddle.to_tensor(table.astype(np.float32)) for table in (np.cos(angles), np.sin(angles)))
    return cosines, sines


def fit_grid(height: int, width: int, base: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where a grid of tokens lies in a square, keeping its shape: ((top, bottom), (left, right))."""
    ratio = height / width
    fitted = (base, round(base / height * width)) if ratio > 1 else (round(base / width * height), base)
    starts = [round((base - side) / 2.0) for side in fitted]
    rows, columns = ((start, start + side) for start, side in zip(starts, fitted))
    return rows, columns


def _places(start: int, stop: int, count: int) -> np.ndarray:
    return np.linspace(start, stop, count, endpoint=False, dtype=np.float32)


def quarter_turn(channels: int) -> paddle.Tensor:
    """The (channels, channels) fp32 matrix that makes (-b, a) of each pair (a, b) of channels.

    Its product with as many tokens as a video has takes a tenth of the time of moving channels about, and is exact.
    """
    turn = np.zeros((channels, channels), np.float32)
    first = np.arange(0, channels, 2)
    turn[first + 1, first], turn[first, first + 1] = -1, 1
    return paddle.to_tensor(turn)


def rotate(x: paddle.Tensor, cosines: paddle.Tensor, sines: paddle.Tensor, turn: paddle.Tensor) -> paddle.Tensor:
    """Turn pairs of channels of (batch, tokens, heads, channels) by what `rotations` and `quarter_turn` give."""
    cosines, sines = (table.astype(x.dtype).unsqueeze(1) for table in (cosines, sines))  # (tokens, 1, channels)
    if paddle.in_dynamic_mode():  # where products of tensors of one shape take a fifth of the time
        cosines, sines = (table.expand(x.shape[1:]) for table in (cosines, sines))
    return x * cosines + paddle.matmul(x, turn.astype(x.dtype)) * sines
