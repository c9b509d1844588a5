"""33 points of a body, refined by heat maps, and the region in which to look for it next.

From BlazePose (Bazarevsky et al. 2020, arXiv:2006.10204) as MediaPipe's graphs use it
(`pose_landmark_by_roi_cpu.pbtxt`, `RefineLandmarksFromHeatmapCalculator`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ppdiffusers_ext.preprocess.blaze.detector import Detection
from ppdiffusers_ext.preprocess.blaze.networks import Network
from ppdiffusers_ext.preprocess.blaze.regions import UP, Region, around

POINTS = 33
NOSE, LEFT_SHOULDER, RIGHT_SHOULDER = 0, 11, 12
RIGHT_EYE, LEFT_EYE = 5, 2
HEAD = slice(0, 11)
# Wrist, little finger, index finger; the left hand first.
WRISTS = ((15, 17, 19), (16, 18, 20))
_TORSO = [NOSE, LEFT_SHOULDER, RIGHT_SHOULDER, 23, 24]
_SIDE = 256
_ROWS = 39  # of landmarks, two of them for the next region, four unused
_REGION = (33, 34)
_MARGIN = 1.25
_WINDOW, _SURE = 3, 0.5  # cells to each side in the heat map, and the least maximum that refines
_SAME = 0.12  # median distance of two people's torso points, in sizes of their regions, below which they are one


@dataclass(frozen=True, eq=False)
class Body:
    """What the network sees in a region.

    Attributes:
        points: (33, 2) in pixels of the frame.
        visibility: (33,) from 0 to 1.
        presence: of a person in the region, 0 to 1.
        region: in which to look in the next frame; its centre is the middle of the hips.
    """

    points: np.ndarray
    visibility: np.ndarray
    presence: float
    region: Region

    def is_same_as(self, other: Body) -> bool:
        """True if two regions led to one person."""
        distances = np.linalg.norm(self.points[_TORSO] - other.points[_TORSO], axis=-1)
        return bool(np.median(distances) < _SAME * min(self.region.size, other.region.size))


def region_of(detection: Detection) -> Region:
    """The region of a detected person."""
    return around(detection.keypoints[0], detection.keypoints[1], UP, _MARGIN)


class BodyNetwork:
    """Finds the points of one body.

    Args:
        network: of a picture of 256 pixels, values 0 to 1.
    """

    def __init__(self, network: Network) -> None:
        self._network = network

    def __call__(self, frame: np.ndarray, region: Region) -> Body:
        """The `Body` in a region of a frame, (H, W, 3) uint8."""
        landmarks, presence, _, heat, _ = self._network(region.crop(frame, _SIDE))
        landmarks = landmarks.reshape(_ROWS, 5).astype(float)
        points = refine(landmarks[:, :2] / _SIDE, heat[0])
        points = region.to_frame(points)
        center, end = points[list(_REGION)]
        visibility = 1 / (1 + np.exp(-np.clip(landmarks[:POINTS, 3], -100, 100)))
        return Body(points[:POINTS], visibility, float(presence.reshape(-1)[0]), around(center, end, UP, _MARGIN))


def refine(points: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Replace points by the weighted mean of their heat maps nearby, where these are sure.

    Args:
        points: (n, 2) in fractions of the picture.
        heat: (n, height, width), before the sigmoid.

    Returns:
        (n, 2).
    """
    count, height, width = heat.shape
    refined = points.copy()
    cells = np.trunc(points * (width, height)).astype(int)
    for i in range(count):
        column, row = cells[i]
        if not (0 <= column < width and 0 <= row < height):
            continue
        left, top = max(0, column - _WINDOW), max(0, row - _WINDOW)
        window = heat[i, top : row + _WINDOW + 1, left : column + _WINDOW + 1].astype(float)
        weights = 1 / (1 + np.exp(-np.clip(window, -100, 100)))
        if weights.max() >= _SURE:
            rows, columns = (np.arange(n) for n in weights.shape)
            x = (weights.sum(axis=0) * (columns + left)).sum() / weights.sum() / width
            y = (weights.sum(axis=1) * (rows + top)).sum() / weights.sum() / height
            refined[i] = x, y
    return refined
