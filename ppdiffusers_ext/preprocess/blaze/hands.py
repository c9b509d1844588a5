"""21 points of each hand of a body.

From MediaPipe Hands (Zhang et al. 2020, arXiv:2006.10214) as MediaPipe's holistic graph uses it
(`hand_landmarks_from_pose_cpu.pbtxt`): the body tells roughly where a hand is, a small network where exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ppdiffusers_ext.preprocess.blaze.body import WRISTS, Body
from ppdiffusers_ext.preprocess.blaze.networks import Network
from ppdiffusers_ext.preprocess.blaze.regions import DOWN, UP, Region, Tolerance, around, direction, steady

POINTS = 21
PRESENT = 0.5
_SIDE, _RECROP_SIDE = 224, 256
_LEAST_VISIBLE = 0.1  # of a wrist whose hand is looked for
_FROM_BODY, _SHIFT = 2.7, -0.1
_STEADY = Tolerance(turn=40, move=0.2, growth=0.4, inset=0.9)
_PALM = [0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18]  # wrist, thumb without its tip, and the two lowest of each finger
_WRIST, _INDEX, _MIDDLE, _RING = 0, 5, 9, 13


@dataclass(frozen=True, eq=False)
class Hand:
    """Points of a hand, (21, 2) in pixels of the frame, and how certain it is that there is one, 0 to 1."""

    points: np.ndarray
    presence: float


class HandNetworks:
    """Finds the hands of a body.

    Args:
        recrop: network of a picture of 256 pixels, values 0 to 1.
        landmarks: of 224 pixels.
    """

    def __init__(self, recrop: Network, landmarks: Network) -> None:
        self._recrop, self._landmarks = recrop, landmarks

    def __call__(self, frame: np.ndarray, body: Body, which: int, last: Hand | None = None) -> Hand | None:
        """A hand of a body in a frame, (H, W, 3) uint8; None if it is not seen.

        Args:
            which: 0 for the left one, 1 for the right one.
            last: the same hand in the frame before.
        """
        wrist, little, index = (body.points[i] for i in WRISTS[which])
        if body.visibility[WRISTS[which][0]] <= _LEAST_VISIBLE:
            return None
        rough = region_from_body(wrist, little, index)
        if not rough.is_usable():
            return None
        (found,) = self._recrop(rough.crop(frame, _RECROP_SIDE))
        region = region_from_recrop(rough, found)
        if last is not None:
            region = steady(region_from_hand(last.points), region, _STEADY, last.points)
        if not region.is_usable():
            return None
        points, presence, *_ = self._landmarks(region.crop(frame, _SIDE))
        if presence.reshape(-1)[0] < PRESENT:
            return None
        points = points.reshape(POINTS, 3)[:, :2].astype(float) / _SIDE
        return Hand(region.to_frame(points), float(presence.reshape(-1)[0]))


def region_from_body(wrist: np.ndarray, little: np.ndarray, index: np.ndarray) -> Region:
    """Where the body's points, (2,) each, tell that its hand is."""
    middle = (2 * index + little) / 3
    region = Region(middle, 2 * float(np.linalg.norm(middle - wrist)), direction(wrist, middle, UP))
    return region.scaled(_FROM_BODY, _SHIFT)


def region_from_recrop(rough: Region, found: np.ndarray) -> Region:
    """The region that the small network sees in a rough one: centre, and a point of the circle toward the wrist."""
    center, end = rough.to_frame(found.reshape(2, 2).astype(float) / _RECROP_SIDE)
    return around(center, end, DOWN).scaled(1, _SHIFT)


def region_from_hand(points: np.ndarray) -> Region:
    """The region of a hand whose points, (21, 2), are known: around its palm, with the fingers up."""
    knuckle = (points[_INDEX] + points[_RING]) / 2
    knuckle = (knuckle + points[_MIDDLE]) / 2
    turned = Region(np.zeros(2), 1.0, direction(points[_WRIST], knuckle, UP))
    palm = turned.to_region(points[_PALM])
    low, high = palm.min(axis=0), palm.max(axis=0)
    size = float((high - low).max())
    return Region(turned.to_frame((low + high) / 2), size, turned.angle).scaled(2, _SHIFT, float((high - low)[1]))
