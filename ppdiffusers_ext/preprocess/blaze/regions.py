"""Turned squares of a frame: what the networks look at, and the way back from their coordinates.

MediaPipe calls them regions of interest (google-ai-edge/mediapipe, `ImageToTensorCalculator`,
`RectTransformationCalculator`, `RoiTrackingCalculator`); all of its regions are squares after their last rule.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

UP, RIGHT, DOWN = -math.pi / 2, 0.0, math.pi / 2  # directions on a screen, whose y axis points down


@dataclass(frozen=True, eq=False)
class Region:
    """A square of a frame.

    Attributes:
        center: (2,) x and y in pixels.
        size: length of a side in pixels.
        angle: clockwise turn in radians.
    """

    center: np.ndarray
    size: float
    angle: float = 0.0

    @property
    def axes(self) -> np.ndarray:
        """(2, 2): unit vectors to its right and down, in the frame."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return np.array([[cos, sin], [-sin, cos]])

    def to_frame(self, points: np.ndarray) -> np.ndarray:
        """(..., 2) in fractions of the square -> pixels of the frame."""
        return np.asarray(self.center + (points - 0.5) * self.size @ self.axes)

    def to_region(self, points: np.ndarray) -> np.ndarray:
        """(..., 2) in pixels of the frame -> fractions of the square."""
        return np.asarray((points - self.center) @ self.axes.T / self.size + 0.5)

    def scaled(self, scale: float, shift: float = 0.0, unit: float | None = None) -> Region:
        """The square `scale` times as large, moved down its own axis by `shift` times `unit` pixels (its size)."""
        center = self.center + self.axes[1] * shift * (self.size if unit is None else unit)
        return replace(self, center=center, size=self.size * scale)

    def crop(self, frame: np.ndarray, side: int, low: float = 0.0, is_replicated: bool = True) -> np.ndarray:
        """The pixels of the square.

        Args:
            frame: (H, W, 3) uint8.
            side: of the result, in pixels.
            low: value of black; white is 1.
            is_replicated: what lies outside the frame is as its edge; otherwise black.

        Returns:
            (side, side, 3) float32.
        """
        across, down = self.axes * self.size / side
        corner = self.to_frame(np.zeros(2))
        matrix = np.stack([across, down, corner], axis=1)
        border = cv2.BORDER_REPLICATE if is_replicated else cv2.BORDER_CONSTANT
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        picture = cv2.warpAffine(frame, matrix, (side, side), flags=flags, borderMode=border)
        return picture.astype(np.float32) * np.float32((1 - low) / 255) + np.float32(low)

    def is_usable(self) -> bool:
        """True if it has an extent, and numbers throughout."""
        return bool(np.isfinite([*self.center, self.size, self.angle]).all() and self.size >= 1)


def whole(frame: np.ndarray) -> Region:
    """The square around all of a frame, (H, W, 3)."""
    height, width = frame.shape[:2]
    return Region(np.array([width / 2, height / 2]), float(max(height, width)))


def direction(start: np.ndarray, end: np.ndarray, toward: float) -> float:
    """The angle of a region in which the way from `start` to `end`, (2,) each, points `toward` UP, RIGHT or DOWN."""
    (dx, dy) = end - start
    return math.remainder(math.atan2(dy, dx) - toward, 2 * math.pi)


def around(center: np.ndarray, end: np.ndarray, toward: float, scale: float = 1.0) -> Region:
    """The region around the circle through `end`, which is seen `toward` UP or DOWN, `scale` times as large."""
    return Region(np.asarray(center), 2 * scale * float(np.linalg.norm(end - center)), direction(center, end, toward))


def enclosing(points: np.ndarray, left: np.ndarray, right: np.ndarray, scale: float, shift: float = 0.0) -> Region:
    """The region around points, (n, 2), turned so that the way from `left` to `right` is level.

    Args:
        scale: of the longer side of their upright bounding box.
        shift: of the centre down the region, in heights of that box.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    width, height = high - low
    tight = Region((low + high) / 2, float(max(width, height)), direction(left, right, RIGHT))
    return tight.scaled(scale, shift, float(height))


@dataclass(frozen=True, eq=False)
class Tolerance:
    """How much two regions may differ and count as one.

    Attributes:
        turn: of angles, in degrees.
        move, growth: of centres and of sizes, as parts of the new one's size.
        inset: share of the new one's size, in its middle, in which all that was seen in the old one must lie.
    """

    turn: float
    move: float
    growth: float
    inset: float = 1.0


def steady(last: Region, new: Region, allowed: Tolerance, points: np.ndarray | None = None) -> Region:
    """The last frame's region while the new one hardly differs, so that what is seen in it does not tremble.

    Args:
        points: (n, 2) in pixels, that were seen in the last one; for `allowed.inset`.
    """
    turned = abs(math.remainder(last.angle - new.angle, 2 * math.pi)) <= math.radians(allowed.turn)
    moved = float(np.abs(new.to_region(last.center) - 0.5).max()) <= allowed.move
    grown = abs(last.size - new.size) <= allowed.growth * new.size
    inside = points is None or float(np.abs(new.to_region(points) - 0.5).max()) < allowed.inset / 2
    return last if turned and moved and grown and inside else new
