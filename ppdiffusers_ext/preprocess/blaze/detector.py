"""Single-shot detectors of people and of faces: anchors, decoding, weighted non-maximum suppression.

From BlazeFace (Bazarevsky et al. 2019, arXiv:1907.05047), whose detector BlazePose (Bazarevsky et al. 2020,
arXiv:2006.10204) shares, as MediaPipe's graphs configure them (`pose_detection_cpu.pbtxt`, `face_detection*.pbtxt`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ppdiffusers_ext.preprocess.blaze.networks import Network
from ppdiffusers_ext.preprocess.blaze.regions import Region

_OVERLAP = 0.3  # intersection over union from which boxes are of the same thing


@dataclass(frozen=True, eq=False)
class Layout:
    """What the numbers of a detector mean.

    Attributes:
        side: of its picture in pixels.
        strides: pixels between anchors, of each layer.
        per_cell: anchors of a layer at each place.
        least: score of a box that counts.
    """

    side: int
    strides: Sequence[int]
    per_cell: int
    least: float


PEOPLE = Layout(224, (8, 16, 32, 32, 32), 2, 0.5)
CLOSE_FACES = Layout(128, (8, 16, 16, 16), 2, 0.5)
FACES = Layout(192, (4,), 1, 0.6)


@dataclass(frozen=True, eq=False)
class Detection:
    """A box and its keypoints, in pixels of the frame.

    Attributes:
        score: 0 to 1.
        box: (4,) of left, top, right, bottom.
        keypoints: (n, 2). Of a person: the middle of the hips, a point on the circle around the whole body, the
            middle of the shoulders, a point on the circle around the upper body. Of a face: the subject's right and
            left eye, nose, mouth, right and left ear.
    """

    score: float
    box: np.ndarray
    keypoints: np.ndarray

    @property
    def size(self) -> float:
        """The longer side of the box."""
        return float((self.box[2:] - self.box[:2]).max())


class Detector:
    """Finds boxes in regions of frames.

    Args:
        network: of a picture of `layout.side`, values -1 to 1.
        layout: a `Layout`.
    """

    def __init__(self, network: Network, layout: Layout) -> None:
        self._network, self._layout, self._anchors = network, layout, anchors(layout)

    def __call__(self, frame: np.ndarray, region: Region, least: float | None = None) -> list[Detection]:
        """The boxes in a region of a frame, (H, W, 3) uint8, the most certain first.

        Args:
            least: score of a box that counts; the layout's if left out.
        """
        picture = region.crop(frame, self._layout.side, low=-1, is_replicated=False)
        numbers, scores = self._network(picture)
        numbers, scores = decode(numbers, scores, self._anchors, self._layout.side, least or self._layout.least)
        return [_in_frame(region, *found) for found in suppress(numbers, scores)]


def anchors(layout: Layout) -> np.ndarray:
    """The centres of anchors in fractions of the picture, (n, 2). Layers of one stride stand together in each cell."""
    parts = []
    for stride in dict.fromkeys(layout.strides):
        cells = layout.side // stride
        grid = np.stack(np.meshgrid(np.arange(cells), np.arange(cells)), axis=-1).reshape(-1, 2)
        parts.append(np.repeat((grid + 0.5) / cells, layout.per_cell * list(layout.strides).count(stride), axis=0))
    return np.concatenate(parts)


def decode(
    numbers: np.ndarray, scores: np.ndarray, centers: np.ndarray, side: int, least: float
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes and keypoints of the anchors that count.

    Args:
        numbers: the network's, for each anchor: the box's centre, its sides, then keypoints, in pixels; places are
            relative to the anchor's centre.
        scores: before the sigmoid, one for each anchor.
        centers: see `anchors`.
        side: of the picture in pixels.
        least: score of an anchor that counts.

    Returns:
        Points, (kept, 2 + keypoints, 2): two corners, then keypoints, in fractions of the picture; scores, (kept,).
    """
    scores = 1 / (1 + np.exp(-np.clip(scores.reshape(-1).astype(float), -100, 100)))
    kept = scores >= least
    values = numbers.reshape(len(scores), -1, 2)[kept].astype(float) / side
    middle, sides, points = values[:, :1], values[:, 1:2], values[:, 2:]
    corners = np.concatenate([middle - sides / 2, middle + sides / 2], axis=1)
    return np.concatenate([corners, points], axis=1) + centers[kept][:, None], scores[kept]


def suppress(points: np.ndarray, scores: np.ndarray) -> list[tuple[float, np.ndarray]]:
    """The weighted mean of each group of boxes that overlap its best one, as in BlazeFace; the most certain first.

    Args:
        points: (n, 2 + keypoints, 2), two corners first.
        scores: (n,), the weights.

    Returns:
        List of (highest score, points of the mean).
    """
    found, rest = [], np.argsort(-scores, kind="stable")
    while rest.size:
        best = rest[0]
        same = overlap(points[best, :2].reshape(4), points[rest, :2].reshape(-1, 4)) > _OVERLAP
        same[0] = True  # an empty box does not overlap itself
        group = rest[same]
        found.append((float(scores[best]), np.average(points[group], axis=0, weights=scores[group])))
        rest = rest[~same]
    return found


def overlap(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of a box, (4,), with others, (n, 4): left, top, right, bottom."""
    common = np.clip(np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2]), 0, None).prod(axis=1)
    areas = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1)
    area = np.clip(box[2:] - box[:2], 0, None).prod()
    return np.asarray(common / np.maximum(area + areas - common, 1e-12))


def _in_frame(region: Region, score: float, points: np.ndarray) -> Detection:
    xs, ys = points[[0, 0, 1, 1], 0], points[[0, 1, 0, 1], 1]
    corners = region.to_frame(np.stack([xs, ys], axis=-1))
    return Detection(score, np.concatenate([corners.min(axis=0), corners.max(axis=0)]), region.to_frame(points[2:]))
