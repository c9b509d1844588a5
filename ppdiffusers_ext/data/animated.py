"""Animated pictures (GIF, WebP, PNG) as videos: counted by `animated_files`, decoded by imageio."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from ppdiffusers_ext.data.animated_files import WALKS, NotWholeError, Promise, format_of
from ppdiffusers_ext.data.colours import ColourError, to_srgb
from ppdiffusers_ext.data.orientation import Orientation
from ppdiffusers_ext.data.transparency import lay_over, tell_once
from ppdiffusers_ext.data.video_file import ACCEPTED
from ppdiffusers_ext.errors import InputError, printable, shown_path
from ppdiffusers_ext.files import check_file, read_bytes
from ppdiffusers_ext.packaged import located

_MOST_BYTES = 1 << 29
_MOST_PIXELS = 1 << 26
_LEAST_DELAY, _DELAY_INSTEAD = Fraction(1, 100), Fraction(1, 10)  # what browsers make of a frame without a time
_FINEST = 1_000_000  # parts of a second in which uneven times of PNG are counted


@dataclass(frozen=True)
class Animation:
    """An animated picture.

    Attributes:
        path: of the file.
        width, height: of the stored pictures.
        starts: when each frame begins, in units.
        unit: seconds, a Fraction.
        last: units that the last frame lasts.
        orientation: by which frames are shown.
        is_led: whether the first stored picture is no frame.
        is_deep_grey: whether pixels are 16-bit grey values.
    """

    path: Path
    width: int
    height: int
    starts: tuple
    unit: Fraction
    last: int
    orientation: Orientation
    is_led: bool
    is_deep_grey: bool


def is_animated(path: str | os.PathLike) -> bool:
    """Whether a file is a picture of several frames. A damaged one is, if two of them come before the damage."""
    path = Path(located(path))
    kind = format_of(_head(path)) if path.is_file() else None
    if kind is None:
        return False
    promise = Promise()
    with contextlib.suppress(NotWholeError):
        WALKS[kind](read_bytes(path, "picture", ACCEPTED, _MOST_BYTES), promise)
    return len(promise.delays) > 1


def find_animation(path: str | os.PathLike) -> Animation | None:
    """The `Animation` in a file, None if it is of no such format.

    Raises:
        MissingFileError, InputError: there is no such file, it is damaged, or a picture that does not move.
    """
    path = check_file(path, "video", ACCEPTED)
    kind = format_of(_head(path))
    if kind is None:
        return None
    promise = Promise()
    try:
        WALKS[kind](read_bytes(path, "video", ACCEPTED, _MOST_BYTES), promise)
    except NotWholeError as error:
        count = len(promise.delays)
        raise InputError(
            f"{shown_path(path)} is damaged or cut off after {count} frames: {error}; {ACCEPTED}"
        ) from error
    if not promise.delays:
        raise InputError(f"{shown_path(path)} is a single picture, not a video that can be read; {ACCEPTED}")
    if promise.width * promise.height > _MOST_PIXELS:
        raise InputError(
            f"{shown_path(path)} has {promise.width}x{promise.height} pixels; up to {_MOST_PIXELS} pixels are accepted"
        )
    _find_imageio(path)
    starts, unit, last = _starts(promise)
    return Animation(
        path, promise.width, promise.height, starts, unit, last, promise.orientation, promise.is_led,
        promise.is_deep_grey,
    )  # fmt: skip


def _head(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(16)


def _starts(promise: Promise) -> tuple[tuple[int, ...], Fraction, int]:
    """When frames begin, the unit, and how long the last one lasts."""
    delays = [delay if delay > _LEAST_DELAY else _DELAY_INSTEAD for delay in promise.delays]
    unit = promise.unit or Fraction(1, min(_FINEST, math.lcm(*{delay.denominator for delay in delays})))
    starts, time = [], Fraction(0)
    for delay in delays:
        starts.append(round(time / unit))
        time += delay
    return tuple(starts), unit, round(delays[-1] / unit)


def decode_animation(animation: Animation, indices: range, background: str = "white") -> Iterator[np.ndarray]:
    """Iterate over the frames of these numbers, a range: (height, width, 3) uint8 RGB, upright, over a ground.

    Raises:
        InputError: a frame cannot be decoded, or imageio is missing.
    """
    frames, info = _stored(animation), _colours_of(animation.path)
    for index in range(indices.stop):
        try:
            frame = next(frames)
        except Exception as error:  # imageio and Pillow raise anything on damaged files, StopIteration at their end
            raise InputError(f"frame {index} of {shown_path(animation.path)} cannot be decoded; {ACCEPTED}") from error
        if frame.shape != (animation.height, animation.width, 4):
            raise InputError(
                f"frame {index} of {shown_path(animation.path)} has {frame.shape[1]}x{frame.shape[0]} pixels, the "
                f"picture {animation.width}x{animation.height}; one of one size is accepted"
            )
        if index in indices:
            frame = _in_srgb(frame, info, animation.path)
            yield np.ascontiguousarray(animation.orientation.apply(lay_over(frame, background, animation.path)))


def _colours_of(path: Path) -> dict[str, Any]:
    """What the file says about the colours of its frames, as Pillow names it."""
    names = ("icc_profile", "srgb", "gamma", "chromaticity")
    # Pillow raises anything on a damaged file; that it cannot be decoded is told with its first frame.
    with contextlib.suppress(Exception), PIL.Image.open(path) as image:
        return {name: image.info[name] for name in names if name in image.info}
    return {}


def _in_srgb(frame: np.ndarray, info: dict[Any, Any], path: Path) -> np.ndarray:
    """An (H, W, 4) frame with its colours in sRGB; see `colours.to_srgb`."""
    image = PIL.Image.fromarray(np.ascontiguousarray(frame[..., :3]))
    image.info = info
    try:
        rgb = to_srgb(image) if info else image
    except ColourError as error:
        tell_once("%s: %s, so that its colours are taken as sRGB", printable(path), str(error))
        return frame
    return frame if rgb is image else np.dstack([np.asarray(rgb), frame[..., 3]])


def _stored(animation: Animation) -> Iterator[np.ndarray]:
    """The stored frames: (H, W, 4) uint8 RGBA."""
    with _find_imageio(animation.path)(animation.path, "r", plugin="pillow") as file:
        frames = file.iter(mode=None if animation.is_deep_grey else "RGBA")
        if animation.is_led:
            next(frames)
        yield from map(_of_deep_grey, frames) if animation.is_deep_grey else frames


def _find_imageio(path: Path) -> Callable[..., Any]:
    """imageio's `imopen`. It needs a moment to be imported, so that only whoever has such a picture waits for it."""
    try:
        from imageio.v3 import imopen
    except ImportError as error:
        raise InputError(
            f"{shown_path(path)} is an animated picture, for which the package imageio is needed: pip install imageio"
        ) from error
    return imopen


def _of_deep_grey(frame: np.ndarray) -> np.ndarray:
    """(H, W) of 16 bits -> (H, W, 4) of 8 bits."""
    grey = ((frame.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return np.dstack([grey, grey, grey, np.full_like(grey, 255)])
