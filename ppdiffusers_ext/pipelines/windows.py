"""Context windows: which frames a denoising call sees together when the clip is longer than the network can take.

A schedule is a pure function `(num_frames, size, stride, overlap) -> list of frame lists`, chosen by name. A frame
may lie in several windows, and a window of strided frames that wraps round a short clip may hold a frame twice:
predictions are averaged over all of a frame's places.
"""

import math
from collections.abc import Callable

from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.options import check_number


def _check(num_frames: int, size: int, stride: int, overlap: int) -> None:
    for name, value in (("frames", num_frames), ("a window's frames", size), ("a window's stride", stride)):
        check_number(f"the number of {name}", value, 1, is_whole=True)
    check_number("the overlap of windows", overlap, 0, is_whole=True)
    if overlap >= size and num_frames > size:
        raise InputError(f"a context overlap of {overlap} frames needs windows longer than {size} frames")


def _ordered_halving(step: int) -> float:
    """The bits of the step, mirrored behind the binary point: 0, 1/2, 1/4, 3/4, 1/8, ..."""
    return int(f"{step:064b}"[::-1], 2) / 2**64


def uniform(
    num_frames: int, size: int, stride: int = 1, overlap: int = 4, step: int = 0, closed_loop: bool = True
) -> list[list[int]]:
    """Windows that overlap, on several strides.

    Windows of `size` frames that share `overlap` frames with their neighbours; then, for strides up to `stride`,
    windows of every second, every fourth, ... frame. In a closed loop the last windows wrap round to the first frames.

    Args:
        num_frames: length of the clip.
        size: frames in a window.
        stride: number of strides; stride k adds windows of every 2^(k-1)-th frame. Capped by the clip's length.
        overlap: frames shared by neighbouring windows, less than `size`.
        step: shifts all windows, by a fraction of the clip that differs from step to step. Inference uses 0.
        closed_loop: treat the clip as a loop.

    Raises:
        InputError: an overlap that is not smaller than the window, or numbers below 1.
    """
    _check(num_frames, size, stride, overlap)
    if num_frames <= size:
        return [list(range(num_frames))]
    stride = min(stride, math.ceil(math.log2(num_frames / size)) + 1)
    windows = []
    for level in range(stride):
        gap = 2**level
        shift = round(num_frames * _ordered_halving(step))
        start = int(_ordered_halving(step) * gap) + shift
        stop = num_frames + shift - (0 if closed_loop else overlap)
        for first in range(start, stop, size * gap - overlap):
            windows.append([(first + i * gap) % num_frames for i in range(size)])
    return windows


def sliding(num_frames: int, size: int, stride: int = 1, overlap: int = 4) -> list[list[int]]:
    """Windows that never wrap: the last one ends at the last frame, so it may share more than `overlap` frames.

    For clips that do not loop, where `uniform` would average the last frames with the first. `stride` is the gap
    between the frames of a window; every frame is covered.

    Raises:
        InputError: as `uniform`.
    """
    _check(num_frames, size, stride, overlap)
    windows = []
    for phase in range(min(stride, num_frames)):
        frames = list(range(phase, num_frames, stride))
        starts = list(range(0, len(frames) - size + 1, size - overlap)) if len(frames) > size else [0]
        if starts[-1] + size < len(frames):
            starts.append(len(frames) - size)
        windows += [frames[start : start + size] for start in starts]
    return windows


SCHEDULES = {"uniform": uniform, "sliding": sliding}


def get_schedule(name: object) -> Callable[..., list[list[int]]]:
    """The schedule of that name.

    Raises:
        InputError: there is none.
    """
    if not isinstance(name, str) or name not in SCHEDULES:
        raise InputError(f"context schedule {shown(name)} is not known; use one of {', '.join(SCHEDULES)}")
    return SCHEDULES[name]
