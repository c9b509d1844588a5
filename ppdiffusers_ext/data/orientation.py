"""How stored pixels are shown: turned, mirrored, and as wide as the file says."""

import math
import os
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from PIL import Image

from ppdiffusers_ext.errors import InputError

_MOST_STRETCH = 8  # of a pixel's width to its height, either way
_MOST_PIXELS = 1 << 26
_TOLERANCE = math.radians(1)  # by which a display matrix may miss an axis, as FFmpeg allows


@dataclass(frozen=True)
class Orientation:
    """One of the eight ways to lay a picture: first mirrored, left to right, then turned.

    Attributes:
        rotation: degrees clockwise: 0, 90, 180 or 270.
        is_mirrored: whether.
    """

    rotation: int = 0
    is_mirrored: bool = False

    def apply(self, frame: np.ndarray) -> np.ndarray:
        """A stored picture, (H, W, channels), as it is shown."""
        return np.rot90(frame[:, ::-1] if self.is_mirrored else frame, -self.rotation // 90)

    def size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) of what `apply` makes of a picture of this size."""
        return (height, width) if self.rotation in (90, 270) else (width, height)


# EXIF's numbers 1 to 8.
EXIF = (
    Orientation(0),
    Orientation(0, True),
    Orientation(180),
    Orientation(180, True),
    Orientation(270, True),
    Orientation(90),
    Orientation(90, True),
    Orientation(270),
)


def of_matrix(values: Any, path: str | os.PathLike) -> Orientation:
    """The `Orientation` of a display matrix, as FFmpeg hands it over.

    Args:
        values: nine numbers, row by row. A stored point (x, y), y downwards, is shown at (a x + c y, b x + d y), with
            a, b the first two numbers and c, d the fourth and fifth. Lengths are no part of it: FFmpeg makes them the
            shape of the pixels.
        path: of the file, for messages.

    Raises:
        InputError: it turns by something else than a multiple of 90 degrees, slants, or shows nothing.
    """
    a, b, _, c, d = values[:5]
    across, down = math.hypot(a, b), math.hypot(c, d)
    if not across or not down:
        raise InputError(f"{path} has a display matrix that shows nothing; one that turns or mirrors is accepted")
    degrees = round(math.degrees(math.atan2(b, a)))  # of the stored rows, clockwise
    slant = abs(a * c + b * d) / (across * down)
    if slant > math.sin(_TOLERANCE):
        raise InputError(f"{path} has a display matrix that slants; one that turns or mirrors is accepted")
    quarter = round(degrees / 90) * 90
    if abs(math.atan2(b, a) - math.radians(quarter)) > _TOLERANCE:
        raise InputError(f"{path} is rotated by {degrees % 360} degrees; multiples of 90 are accepted")
    is_mirrored = a * d - b * c < 0
    # A mirrored row runs backwards before it is turned.
    return Orientation((quarter + 180 * is_mirrored) % 360, is_mirrored)


@dataclass(frozen=True)
class Crop:
    """The part of a stored picture that is to be shown, from `left` up to `right`, from `top` up to `bottom`."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def size(self) -> tuple[int, int]:
        return self.right - self.left, self.bottom - self.top

    def apply(self, frame: np.ndarray) -> np.ndarray:
        """That part of a frame, (H, W, channels)."""
        return frame[self.top : self.bottom, self.left : self.right]


def crop_of_sides(left: int, top: int, right: int, bottom: int, size: tuple[int, int]) -> Crop:
    """The `Crop` of a picture of a size, (width, height), that loses so many pixels at its sides.

    Raises:
        ValueError: nothing would be left.
    """
    return _checked(Crop(left, top, size[0] - right, size[1] - bottom), size)


def crop_of_aperture(aperture: Any, size: tuple[int, int]) -> Crop:
    """The `Crop` of a picture of a size, (width, height), with a clean aperture.

    Args:
        aperture: (width, height, from the middle to the right, downwards) in pixels, or None: all of it.

    Raises:
        ValueError: it is not in the picture.
    """
    if aperture is None:
        return Crop(0, 0, *size)
    edges = []
    for whole, part, shift in zip(size, aperture[:2], aperture[2:]):
        first = (whole - part) / 2 + shift
        edges.append((round(first), round(first) + round(part)))
    (left, right), (top, bottom) = edges
    return _checked(Crop(left, top, right, bottom), size)


def _checked(crop: Crop, size: tuple[int, int]) -> Crop:
    if not (0 <= crop.left < crop.right <= size[0] and 0 <= crop.top < crop.bottom <= size[1]):
        raise ValueError(f"it shows a part of its picture, of {size[0]}x{size[1]} pixels, that is not in it")
    return crop


def shown_width(width: int, height: int, aspect: Fraction, path: str | os.PathLike) -> int:
    """Width of square pixels of a stored picture whose pixels have the shape `aspect`, width to height.

    Raises:
        InputError: the shape, or the size that it gives, is not plausible.
    """
    if not 1 / _MOST_STRETCH <= aspect <= _MOST_STRETCH or width * height * max(Fraction(1), aspect) > _MOST_PIXELS:
        raise InputError(
            f"{path} has {width}x{height} pixels of the shape {aspect.numerator}:{aspect.denominator}; up to "
            f"{_MOST_STRETCH}:1 and {_MOST_PIXELS} pixels are accepted"
        )
    return max(1, round(width * aspect))


def stretch(frame: np.ndarray, width: int) -> np.ndarray:
    """A frame, (H, W, 3) uint8, in another width."""
    if frame.shape[1] == width:
        return frame
    return np.asarray(Image.fromarray(frame).resize((width, frame.shape[0]), Image.Resampling.LANCZOS))


def aspect_of(value: Any) -> Fraction:
    """The shape of pixels, width to height, of what a file says of it: square ones where it says nothing."""
    return Fraction(value) if value else Fraction(1)
