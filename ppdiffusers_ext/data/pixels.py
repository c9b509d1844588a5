"""Decoded frames as RGB arrays of square pixels, upright."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ppdiffusers_ext.data.orientation import stretch
from ppdiffusers_ext.data.transparency import lay_over
from ppdiffusers_ext.errors import InputError

if TYPE_CHECKING:
    import os

    import numpy as np


_BT709 = 1  # FFmpeg's code of the matrix
_FULL_RANGE = 2
# PyAV converts by the BT.601 matrix and from the narrow range unless it is told what the file names.
_MATRICES = {_BT709: "ITU709", 4: "FCC", 7: "SMPTE240M"}
_COMMON = (_BT709, 2, 5, 6)  # that, not named, and BT.601
_BT2020 = (9, 10)  # for which PyAV has no name, but which it takes from the frame


def to_upright(
    frame: Any, convert: Any, path: str | os.PathLike, index: int, info: Any, background: str = "white"
) -> np.ndarray:
    """The (height, width, 3) uint8 RGB array of a decoded frame.

    Args:
        frame: PyAV's.
        convert: a `VideoReformatter`, the same for all frames of a video.
        path, index: of the frame, for messages.
        info: `VideoInfo` of the video.
        background: "white" or "black", over which transparent pixels are laid.

    Raises:
        InputError: the frame is of another size than the video.
    """
    width, _ = info.orientation.size(info.width, info.height)
    if (frame.width, frame.height) != info.coded_size:
        size = f"{frame.width}x{frame.height} pixels, the first one {info.coded_size[0]}x{info.coded_size[1]}"
        raise InputError(f"frame {index} of {path} has {size}; a video of one size is accepted")
    pixels = info.crop.apply(_to_pixels(frame, convert))
    stored = stretch(pixels if pixels.shape[2] == 3 else lay_over(pixels, background, path), width)
    return np.ascontiguousarray(info.orientation.apply(stored))


def is_plain(frame: Any, info: Any) -> bool:
    """True if a decoded frame of PyAV can be coded anew as it is: it is yuv420p, upright, whole and of square pixels.

    Args:
        info: `VideoInfo` of the video.
    """
    width, height = size = (frame.width, frame.height)
    return (
        (frame.format.name == "yuv420p" and frame.color_range != _FULL_RANGE and frame.colorspace in _COMMON)
        and (info.crop.size == info.coded_size == (info.width, info.height) == size)
        and (width % 2 == height % 2 == 0 and info.aspect == 1)
        and (info.rotation == 0 and not info.is_mirrored)
    )


def _to_pixels(frame: Any, convert: Any) -> np.ndarray:
    """The uint8 array of a decoded frame: (H, W, 3), or (H, W, 4) of one with transparency."""
    has_alpha = any(component.is_alpha for component in frame.format.components)
    return convert.reformat(
        frame,
        format="rgba" if has_alpha else "rgb24",
        src_colorspace=None if frame.colorspace in _BT2020 else _MATRICES.get(frame.colorspace, "DEFAULT"),
        dst_colorspace="DEFAULT",
        src_color_range="JPEG" if frame.color_range == _FULL_RANGE else None,
    ).to_ndarray()
