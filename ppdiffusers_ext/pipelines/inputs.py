"""Pictures and videos as calls of pipelines take them: PIL pictures, arrays, tensors, names of files."""

import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import PIL.Image

from ppdiffusers_ext.data.animated import is_animated
from ppdiffusers_ext.data.frames import open_frames, resize
from ppdiffusers_ext.data.images import read_image
from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.pipelines.options import RunOptions
from ppdiffusers_ext.pipelines.outputs import PICTURE_SUFFIXES

logger = logging.getLogger(__name__)

_STRETCH = 0.02  # by which shapes may differ unseen
_DONE = {"stretch": "stretched", "crop": "cropped", "pad": "put between borders"}
_ACCEPTED = (
    "a PIL picture, an array (height, width, 3) of uint8 or of floats in [0, 1], a tensor (3, height, width) of the "
    "same, or the name of a file is accepted"
)
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def to_picture(value: Any, name: str = "image", background: str = "white") -> PIL.Image.Image:
    """A picture in RGB.

    Args:
        value: a PIL picture; an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) or a tensor (3, H, W), of uint8 or of
            floats in [0, 1], maybe with an axis of 1 before these; the name of a file.
        name: of the argument, for messages.
        background: what shows through where a picture of a file is transparent.

    Raises:
        InputError, MissingFileError: it is none of these, or cannot be read.
    """
    if isinstance(value, PIL.Image.Image):
        return value.convert("RGB")
    if isinstance(value, (str, os.PathLike)):
        return read_image(os.fspath(value), background)
    if isinstance(value, paddle.Tensor):
        value = _as_array(value)
        pixels = value[0] if value.ndim == 4 and value.shape[0] == 1 else value
        pixels = pixels.transpose(1, 2, 0) if pixels.ndim == 3 else pixels
    elif isinstance(value, np.ndarray):
        pixels = value[0] if value.ndim == 4 and value.shape[0] == 1 else value
    else:
        raise InputError(f"{name} is {shown(value)}; {_ACCEPTED}")
    return PIL.Image.fromarray(*_as_bytes(pixels, name)).convert("RGB")


def to_pictures(value: Any, name: str = "pose_images") -> tuple[Iterator[PIL.Image.Image], int | None]:
    """The frames of a video in RGB one by one, and their number where it is known.

    Args:
        value: an iterable of pictures as `to_picture` takes them; an array (frames, H, W, 3) or a tensor (frames, 3,
            H, W) or (1, 3, frames, H, W); the name of a video or of a folder of pictures; or a single picture.
        name: of the argument, for messages.

    Raises:
        InputError, MissingFileError: it is none of these, or cannot be read; a frame's when it is taken.
    """
    if isinstance(value, (str, os.PathLike)):
        path = os.fspath(value)
        if Path(path).suffix.lower() in PICTURE_SUFFIXES and not os.path.isdir(path) and not is_animated(path):
            return iter([read_image(path, "black")]), 1
        source = open_frames(path, background="black")
        return (PIL.Image.fromarray(frame) for frame in source), source.num_frames
    if isinstance(value, paddle.Tensor) and value.ndim == 5 and value.shape[0] == 1:
        value = value[0].transpose([1, 0, 2, 3])  # (frames, 3, H, W)
    is_one = isinstance(value, PIL.Image.Image) or (isinstance(value, (np.ndarray, paddle.Tensor)) and value.ndim < 4)
    frames: Any = [value] if is_one else value
    if not isinstance(frames, (Iterable, paddle.Tensor)) or isinstance(frames, (bytes, dict)):
        raise InputError(
            f"{name} are {shown(value)}; pictures, one for each frame, or the name of a video is accepted"
        )
    count: int | None = len(frames) if hasattr(frames, "__len__") else None  # type: ignore[arg-type]  # a tensor has it
    return (to_picture(frame, f"frame {i} of {name}", "black") for i, frame in enumerate(frames)), count


def to_frames(value: Any, height: int, width: int, name: str) -> np.ndarray:
    """All frames of a video, (frames, height, width, 3) uint8: what is too much of another shape is cut off.

    For arguments and errors see `to_pictures`.
    """
    frames = [resize(np.asarray(picture), width, height, "crop") for picture in to_pictures(value, name)[0]]
    if not frames:
        raise InputError(f"{name} has no frames; one at least is needed")
    return np.stack(frames)


def tell_shape(path: object, width: int, height: int, config: RunOptions, more: str = "") -> bool:
    """Log what becomes of a picture or a video of another shape than the result's, see `RunOptions.resize`.

    Args:
        path: of the picture or the video.
        width, height: its size in pixels.
        config: options with the size of the result.
        more: what else the note says of the options.

    Returns:
        True if the shape is another one.
    """
    if abs(width * config.height / (height * config.width) - 1) <= _STRETCH:
        return False
    logger.warning(
        "%s is %dx%d, of another shape than %dx%d, and is %s (--resize stretch distorts it, crop cuts off what is "
        "too much, pad adds borders%s)",
        path, width, height, config.width, config.height, _DONE[config.resize], more,
    )  # fmt: skip
    return True


def fit_picture(picture: PIL.Image.Image, config: RunOptions) -> PIL.Image.Image:
    """A picture in the size of the result; as it is where it is to be stretched, which pipelines do themselves."""
    if config.resize == "stretch":
        return picture
    return PIL.Image.fromarray(resize(np.asarray(picture), config.width, config.height, config.resize))


def _as_array(tensor: paddle.Tensor) -> np.ndarray:
    return (tensor.astype("float32") if tensor.is_floating_point() else tensor).numpy()


def _as_bytes(pixels: np.ndarray, name: str) -> tuple[np.ndarray, str]:
    """uint8 pixels, and the mode in which PIL takes them."""
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if pixels.ndim != 3 or pixels.shape[2] not in _MODES or not pixels.size:
        raise InputError(f"{name} has the shape {list(pixels.shape)}; {_ACCEPTED}")
    if np.issubdtype(pixels.dtype, np.floating):
        if not (np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 1):
            raise InputError(f"{name} has numbers outside of 0 to 1; {_ACCEPTED}")
        pixels = (pixels.astype(np.float32) * 255).round().astype(np.uint8)
    if pixels.dtype != np.uint8:
        raise InputError(f"{name} holds numbers of {pixels.dtype}; {_ACCEPTED}")
    mode = _MODES[pixels.shape[2]]
    return np.ascontiguousarray(pixels[..., 0] if mode == "L" else pixels), mode
