"""Where faces are: boxes from masks and from skeletons, for the optimisation of faces.

A box is (top, bottom, left, right) in whole pixels, all of them inside, as in Francis-Rings/StableAnimator
(`inference_op.py`).
"""

import os
from typing import Any

import numpy as np

from ppdiffusers_ext.data.frames import open_frames
from ppdiffusers_ext.data.images import read_image
from ppdiffusers_ext.errors import InputError

WHITE = 255
# A pixel of a face's dots in a skeleton: grey, where bones and fingers have colours.
_MIN_BRIGHTNESS, _MAX_COLOUR = 48, 24


def box_of_mask(mask: np.ndarray) -> Any:
    """The box around the white pixels of a mask, (height, width) uint8, or None where there are none."""
    rows, columns = np.nonzero(mask == WHITE)
    return (rows.min().item(), rows.max().item(), columns.min().item(), columns.max().item()) if rows.size else None


def read_mask(path: Any, size: tuple[int, int]) -> np.ndarray:
    """A mask, (height, width) uint8: white (255) where a face is, black (0) elsewhere.

    Args:
        path: picture file.
        size: (height, width) that it must have.

    Raises:
        InputError, MissingFileError: no such mask, another size, or greys without any white.
    """
    return _check(np.asarray(read_image(path, "black")).min(axis=2), size, path)


def read_boxes(folder: str | os.PathLike, num_frames: int, size: tuple[int, int]) -> list[Any]:
    """The boxes of a folder of masks, or of a video of them: for each frame a box, or None without a face.

    Raises:
        InputError, MissingFileError: as `read_mask`; another number of masks than of frames; or no face in any.
    """
    source = open_frames(folder, background="black")
    if source.num_frames != num_frames:
        raise InputError(f"{folder} has {source.num_frames} masks for {num_frames} skeletons; one each is needed")
    names = source.names or range(num_frames)
    boxes = [box_of_mask(_check(frame.min(axis=2), size, f"{folder}/{name}")) for name, frame in zip(names, source)]
    if not any(boxes):
        raise InputError(f"no mask in {folder} has a white pixel; at least one that shows where a face is is needed")
    return boxes


def _check(mask: np.ndarray, size: tuple[int, int], path: str | os.PathLike) -> np.ndarray:
    if mask.shape != tuple(size):
        raise InputError(
            f"mask {path} is {mask.shape[1]}x{mask.shape[0]}; {size[1]}x{size[0]}, as what it masks, is needed"
        )
    if 0 < mask.max() < WHITE:
        raise InputError(f"mask {path} has greys up to {mask.max()} only; white (255) where the face is is needed")
    return mask


def box_of_dots(skeleton: np.ndarray, height: int, width: int) -> Any:
    """The box around the dots that DWPose draws for a face, for a skeleton that is resized.

    Args:
        skeleton: (H, W, 3) uint8 RGB.
        height, width: of the result in pixels.

    Returns:
        A box, or None for a skeleton without such dots.
    """
    brightest = skeleton.max(axis=2)
    is_dot = (brightest >= _MIN_BRIGHTNESS) & (brightest - skeleton.min(axis=2) <= _MAX_COLOUR)
    box = box_of_mask(np.where(is_dot, WHITE, 0))
    if box is None:
        return None
    vertical, horizontal = height / skeleton.shape[0], width / skeleton.shape[1]
    top, bottom, left, right = box
    return (
        int(top * vertical),
        max(int(top * vertical), int((bottom + 1) * vertical) - 1),
        int(left * horizontal),
        max(int(left * horizontal), int((right + 1) * horizontal) - 1),
    )
