"""Skeletons of people in OpenPose's order, and their drawing.

From DWPose (Yang et al. 2023, arXiv:2307.15880; IDEA-Research/DWPose) in the forms of the repositories that
`preprocess.extraction` names: the same pixels, without their passes over the whole canvas.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from ppdiffusers_ext.data.openpose import LIMB_BRIGHTNESS, LIMBS, PALETTE

VISIBLE = 0.3  # a joint with a larger score counts as seen
HAND_JOINTS = 21
_FINGERS = tuple(
    edge
    for finger in range(1, HAND_JOINTS, 4)
    for edge in ((0, finger), *((i, i + 1) for i in range(finger, finger + 3)))
)
_FINGER_COLORS = tuple(np.array(colorsys.hsv_to_rgb(i / 20, 1, 1)) for i in range(len(_FINGERS)))


@dataclass(frozen=True)
class Pose:
    """Poses of the people in a frame. Coordinates are (x, y) in fractions of the frame's width and height.

    Attributes:
        body: (people, 18, 2), in OpenPose's order (`data.openpose`).
        body_scores: (people, 18), the neck's is 1 where both shoulders are seen and 0 elsewhere.
        hands: (people, 2, 21, 2), the left one first.
        hands_scores: (people, 2, 21).
        face: (people, 68, 2).
        face_scores: (people, 68).
    """

    body: np.ndarray
    body_scores: np.ndarray
    hands: np.ndarray
    hands_scores: np.ndarray
    face: np.ndarray
    face_scores: np.ndarray

    def __len__(self) -> int:
        return len(self.body)

    def person(self, index: int) -> Pose:
        """`Pose` of one of the people."""
        return Pose(*(getattr(self, name)[index : index + 1] for name in self.__dataclass_fields__))

    def moved(self, scale: np.ndarray, offset: np.ndarray) -> Pose:
        """All coordinates times `scale` plus `offset`, each (2,)."""
        moved = {name: getattr(self, name) * scale + offset for name in ("body", "hands", "face")}
        return replace(self, **moved)

    def visible(self) -> np.ndarray:
        """(people, 18) bool: True for visible joints of the bodies."""
        return self.body_scores > VISIBLE

    @classmethod
    def empty(cls) -> Pose:
        """Nobody."""
        shapes = {"body": (18, 2), "body_scores": (18,), "hands": (2, 21, 2), "hands_scores": (2, 21)}
        shapes = {**shapes, "face": (68, 2), "face_scores": (68,)}
        return cls(**{name: np.zeros((0, *shape)) for name, shape in shapes.items()})


@dataclass(frozen=True)
class Style:
    """Drawing style of skeletons.

    Attributes:
        canvas_side: pixels of the shorter side of the canvas; lines have a fixed width on it.
        weighted: colours are darker by scores, and points of hands and faces are drawn whatever their score.
        hands, face: whether these are drawn.
        compatible: draw what an original's code draws at a joint whose score is exactly `VISIBLE`: its limbs, to
            the last joint of the last person.
    """

    canvas_side: int
    weighted: bool
    hands: bool = True
    face: bool = True
    compatible: bool = False


PLAIN = Style(canvas_side=512, weighted=False)
WEIGHTED = Style(canvas_side=2160, weighted=True)


class SkeletonPainter:
    """Draws frame after frame of one size.

    Args:
        height, width: of the frames, in pixels.
        style: a `Style`.
    """

    def __init__(self, height: int, width: int, style: Style) -> None:
        self._size, self._style = (height, width), style
        ratio = style.canvas_side / min(height, width)
        self._canvas = np.zeros((int(height * ratio), int(width * ratio), 3), np.uint8)
        self._painted: tuple[int, int] | None = None  # rows of the canvas that are not black: (first, end)

    def __call__(self, pose: Pose) -> np.ndarray:
        """A `Pose` -> (height, width, 3) uint8 RGB."""
        if self._painted is not None:
            self._canvas[slice(*self._painted)] = 0
        self._painted = self._rows(pose)
        self._draw_bodies(pose)
        if self._style.hands:
            for hand in range(2):
                for points, scores in zip(pose.hands[:, hand], pose.hands_scores[:, hand]):
                    self._draw_hand(points, scores)
        if self._style.face:
            for points, scores in zip(pose.face, pose.face_scores):
                self._draw_face(points, scores)
        height, width = self._size
        return cv2.resize(self._canvas, (width, height))

    def _rows(self, pose: Pose) -> tuple[int, int]:
        """The rows of the canvas that this pose can reach."""
        rows = np.concatenate([points[..., 1].ravel() for points in (pose.body, pose.hands, pose.face)])
        height = len(self._canvas)
        if not rows.size:
            return (0, 0)
        first, last = (np.clip(row * height, 0, height) for row in (rows.min(), rows.max()))
        return max(0, int(first) - 8), int(last) + 8

    def _pixels(self, points: np.ndarray) -> np.ndarray:
        height, width = self._canvas.shape[:2]
        return (points * (width, height)).astype(int)

    def _draw_bodies(self, pose: Pose) -> None:
        height, width = self._canvas.shape[:2]
        visible, weights = pose.visible(), pose.body_scores if self._style.weighted else np.ones_like(pose.body_scores)
        joints, with_limbs = pose.body * (width, height), visible
        if self._style.compatible:
            with_limbs = pose.body_scores >= VISIBLE
            joints = np.where((with_limbs & ~visible)[..., None], joints[-1:, -1:], joints)
        for color, limb in zip(PALETTE, LIMBS):
            ends = list(limb)
            for points, scores, is_seen in zip(joints[:, ends], weights[:, ends], with_limbs[:, ends]):
                if is_seen.all():
                    cv2.fillConvexPoly(
                        self._canvas, _ellipse(*points), _shade(_shade(color, scores.prod()), LIMB_BRIGHTNESS)
                    )
        for joint, color in enumerate(PALETTE):
            for points, scores, is_seen in zip(pose.body, weights, visible):
                if is_seen[joint]:
                    self._dot(self._pixels(points[joint]), 4, _shade(color, scores[joint]))

    def _draw_hand(self, points: np.ndarray, scores: np.ndarray) -> None:
        drawn, weights = self._points_drawn(points, scores)
        for (i, j), color in zip(_FINGERS, _FINGER_COLORS):
            if drawn[i] and drawn[j]:
                shade = (color * int(weights[i] * weights[j] * 255)).tolist()
                start, end = self._pixels(points[[i, j]]).tolist()
                cv2.line(self._canvas, start, end, shade, thickness=2)
        for pixel, is_drawn, weight in zip(self._pixels(points), drawn, weights):
            if is_drawn:
                self._dot(pixel, 4, (0, 0, int(weight * 255)))

    def _draw_face(self, points: np.ndarray, scores: np.ndarray) -> None:
        drawn, weights = self._points_drawn(points, scores)
        for pixel, is_drawn, weight in zip(self._pixels(points), drawn, weights):
            if is_drawn:
                self._dot(pixel, 3, (int(weight * 255),) * 3)

    def _points_drawn(self, points: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which points of a hand or a face are drawn, and how bright."""
        inside = (self._pixels(points) > 0).all(axis=-1)  # the originals leave the first row and column out
        if self._style.weighted:
            return inside, scores
        return inside & (scores >= VISIBLE), np.ones_like(scores)

    def _dot(self, pixel: np.ndarray, radius: int, color: Sequence[int]) -> None:
        cv2.circle(self._canvas, pixel.tolist(), radius, color, thickness=-1)


def _shade(color: Sequence[float], weight: float) -> tuple[int, ...]:
    return tuple(int(c * weight) for c in color)


def _ellipse(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The outline of a limb between two points of the canvas."""
    (x, y), (dx, dy) = (start + end) / 2, start - end
    length, angle = math.hypot(dx, dy), math.degrees(math.atan2(dy, dx))
    return np.asarray(cv2.ellipse2Poly((int(x), int(y)), (int(length / 2), 4), int(angle), 0, 360, 1))
