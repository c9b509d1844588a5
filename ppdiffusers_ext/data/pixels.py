"""Decoded frames as RGB arrays of square pixels, upright."""

import numpy as np

from ppdiffusers_ext.data.orientation import stretch
from ppdiffusers_ext.errors import InputError

_BT709 = 1  # FFmpeg's code of the matrix
_FULL_RANGE = 2
# PyAV converts by the BT.601 matrix and from the narrow range unless it is told what the file names.
_MATRICES = {_BT709: "ITU709", 4: "FCC", 7: "SMPTE240M"}
_BT2020 = (9, 10)  # for which PyAV has no name, but which it takes from the frame


def to_upright(frame, convert, path, index, info):
    """The (height, width, 3) uint8 RGB array of a decoded frame.

    Args:
        frame: PyAV's.
        convert: a `VideoReformatter`, the same for all frames of a video.
        path, index: of the frame, for messages.
        info: `VideoInfo` of the video.

    Raises:
        InputError: the frame is of another size than the video.
    """
    width, _ = info.orientation.size(info.width, info.height)
    if (frame.width, frame.height) != info.coded_size:
        size = f"{frame.width}x{frame.height} pixels, the first one {info.coded_size[0]}x{info.coded_size[1]}"
        raise InputError(f"frame {index} of {path} has {size}; a video of one size is accepted")
    stored = stretch(_to_rgb(frame, convert), width)
    return np.ascontiguousarray(info.orientation.apply(stored))


def has_alpha(frame):
    """Whether a decoded frame has transparent pixels."""
    return any(component.is_alpha for component in frame.format.components)


def _to_rgb(frame, convert):
    """The (H, W, 3) uint8 array of a decoded frame."""
    is_transparent = has_alpha(frame)
    image = convert.reformat(
        frame,
        format="rgba" if is_transparent else "rgb24",
        src_colorspace=None if frame.colorspace in _BT2020 else _MATRICES.get(frame.colorspace, "DEFAULT"),
        dst_colorspace="DEFAULT",
        src_color_range="JPEG" if frame.color_range == _FULL_RANGE else None,
    ).to_ndarray()
    return over_white(image) if is_transparent else image


def over_white(image):
    """(H, W, 4) uint8 RGBA -> (H, W, 3) RGB on a white ground."""
    alpha = image[..., 3:].astype(np.uint16)
    return ((image[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
