"""Frames as a protocol wants them: cropped, and resized."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from PIL import Image

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.metrics.protocol import Frames, Protocol
from ppdiffusers_ext.metrics.sources import Clip

_PILLOW = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def size_after(frames: Frames, width: int, height: int) -> tuple[int, int]:
    """(width, height) of prepared frames, of those that they have before."""
    if frames.size is not None:
        return frames.size
    side = min(width, height)
    return (side, side) if frames.crop == "centre_square" else (width, height)


def prepare(frame: np.ndarray, frames: Frames) -> np.ndarray:
    """(H, W, 3) uint8, cropped and, if the protocol has a size, resized to it."""
    if frames.crop == "centre_square":
        frame = centre_square(frame)
    return frame if frames.size is None else resized(frame, frames.size, frames.filter)


def centre_square(frame: np.ndarray) -> np.ndarray:
    """The square of the shorter side in the middle; as torchvision's crops, it begins at the lower whole number."""
    height, width, _ = frame.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return frame[top : top + side, left : left + side]


def resized(frame: np.ndarray, size: tuple[int, int], filter: str) -> np.ndarray:
    """(H, W, 3) uint8 of another size, (width, height), by one of `FILTERS`; the same array if it has the size.

    Pillow's filters average over what becomes one pixel, OpenCV's bilinear one does not.
    """
    height, width, _ = frame.shape
    if (width, height) == size:
        return frame
    if filter == "none":
        raise ValueError(f"a frame of {width}x{height} is to be {size[0]}x{size[1]} without a filter")
    if filter == "opencv_bilinear":
        return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR))
    return np.asarray(Image.fromarray(frame).resize(size, _PILLOW[filter]))


def prepared_frames(clip: Clip, frames: Frames, count: int | None = None) -> Iterator[np.ndarray]:
    """The first frames of a clip, or all, prepared: (H, W, 3) uint8, read as they are asked for."""
    return (prepare(frame, frames) for frame in clip.frames(count))


def frames_of(prediction: Clip, truths: Iterable[Clip], protocol: Protocol) -> Frames:
    """What is done with generated frames: what is done with true ones, if they have the size of some of these.

    Then they show what the camera did; others are taken for what a system makes at the protocol's size.
    """
    sizes = {(truth.width, truth.height) for truth in truths}
    return protocol.truth if (prediction.width, prediction.height) in sizes else protocol.prediction


def prepared_pairs(
    prediction: Clip, truth: Clip, protocol: Protocol, count: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Prediction and truth, frame by frame, both of the size of the prepared truth: see `prepared_frames`."""
    size = size_after(protocol.truth, truth.width, truth.height)
    made = prepared_frames(prediction, frames_of(prediction, [truth], protocol), count)
    for one, other in zip(made, prepared_frames(truth, protocol.truth, count), strict=True):
        yield resized(one, size, protocol.prediction.filter), other


def check_sizes(prediction: Clip, truth: Clip, protocol: Protocol) -> None:
    """Raises InputError for a pair of other sizes than the protocol can bring together."""
    size = size_after(protocol.truth, truth.width, truth.height)
    made = size_after(frames_of(prediction, [truth], protocol), prediction.width, prediction.height)
    if made != size and protocol.prediction.filter == "none":
        raise InputError(
            "{} has {}x{} pixels, {} {}x{}; protocol {} accepts the same size".format(
                prediction.path, *made, truth.path, *size, protocol.name
            )
        )


def common_length(prediction: Clip, truth: Clip, protocol: Protocol) -> int:
    """How many frames of a pair are compared, from the first on.

    Raises:
        InputError: they have different lengths, which the protocol refuses.
    """
    if prediction.num_frames != truth.num_frames and protocol.different_lengths == "refuse":
        raise InputError(
            f"{prediction.path} has {prediction.num_frames} frames, {truth.path} {truth.num_frames}; protocol "
            f"{protocol.name} accepts the same number"
        )
    return min(prediction.num_frames, truth.num_frames)
