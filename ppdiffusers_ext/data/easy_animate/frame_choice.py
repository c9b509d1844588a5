"""Frames of a video that a sample takes: evenly spaced ones of its middle, at a random place.

From aigc-apps/EasyAnimate (`ImageVideoDataset.get_batch`), which leaves out a tenth of the file at either end.
"""

from typing import Any

import numpy as np

from ppdiffusers_ext.data.easy_animate.settings import SampleSettings
from ppdiffusers_ext.errors import InputError, counted

_USED = 0.9 - 0.1  # of a file; as the original computes it, which is not quite 0.8


def count_frames(num_frames: int, most: int, stride: int = 1, keeps_stride: bool = False) -> int:
    """Frames that a file can give.

    Args:
        num_frames: of the file.
        most: frames of a sample.
        stride: frames of the file from one to the next.
        keeps_stride: a short file gives fewer of them, instead of closer ones (as EasyAnimate's last version).
    """
    usable = num_frames * _USED
    return min(most, int(usable // stride if keeps_stride else usable))


def start_bounds(num_frames: int, count: int, stride: int) -> tuple[int, int, int]:
    """Bounds of a sample's first frame, both included, and the frames of the file from its first to its last.

    Where the lower bound is above the upper one, which the original does not bear, the sample begins as late as it
    can.
    """
    end = int(0.9 * num_frames)
    length = min(end, (count - 1) * stride + 1)
    return (0, 0, length) if length == end else (int(0.1 * end), end - length, length)


def choose_frames(rng: Any, num_frames: int, most: int, stride: int = 1, keeps_stride: bool = False) -> np.ndarray:
    """Numbers of the frames of a sample, at most `most`: (frames,) int64.

    Args:
        rng: `np.random.Generator`.
        num_frames, most, stride, keeps_stride: see `count_frames`.

    Raises:
        InputError: the file is too short for one.
    """
    count = count_frames(num_frames, most, stride, keeps_stride)
    if count < 1:
        raise _too_short(num_frames, count, 1)
    low, high, length = start_bounds(num_frames, count, stride)
    start = int(rng.integers(min(low, high), high + 1))
    return np.linspace(start, start + length - 1, count).astype(np.int64)


def check_length(num_frames: int, settings: SampleSettings) -> None:
    """Raise InputError for a video that is too short for what the video autoencoder encodes at once.

    In the original it would make one frame of all videos of its batch.
    """
    most, multiple = settings.video_sample_n_frames, settings.frames_multiple
    count = count_frames(num_frames, most, settings.video_sample_stride, settings.keeps_stride)
    least = multiple if most >= multiple else 1
    if count < least:
        raise _too_short(num_frames, count, least)


def _too_short(num_frames: int, count: int, least: int) -> InputError:
    return InputError(
        f"it has {counted(num_frames, 'frame')}, of which a sample can have {count}, because a tenth at either end is "
        f"left out; {least} are needed"
    )


def shrink_size(height: int, width: int, side: int) -> tuple[int, int]:
    """(height, width) of a frame whose short side is shrunk to `side` pixels; smaller ones are as they are."""
    short = min(height, width)
    if short <= side:
        return height, width
    return (side, int(side * width / height)) if height == short else (int(side * height / width), side)
