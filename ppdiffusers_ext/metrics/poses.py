"""Errors of poses: how far the joints of generated frames are from those that drove them, and which are missing.

AKD and MKR, average keypoint distance and missing keypoint rate, are those of Siarohin et al. 2019 (First Order Motion
Model, arXiv:2003.00196); PCKh@0.5 follows Andriluka et al. 2014 (MPII Human Pose).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

PARTS = {"body": slice(0, 18), "hands": slice(18, 60), "face": slice(60, 128)}
NUM_POINTS = 128
SEEN = 0.3  # a point with a larger score counts as seen, as in skeletons
_NOSE, _NECK = 0, 1
_SHARE_OF_HEAD = 0.5


@dataclass(frozen=True)
class Points:
    """Points of one person, in the order of `PARTS`: OpenPose's body, left and right hand, face.

    Attributes:
        xy: (128, 2) in pixels.
        seen: (128,) bool.
    """

    xy: np.ndarray
    seen: np.ndarray

    def __post_init__(self) -> None:
        shapes = np.shape(self.xy), np.shape(self.seen)
        if shapes != ((NUM_POINTS, 2), (NUM_POINTS,)):
            raise ValueError(f"points have the shapes {shapes}, not {((NUM_POINTS, 2), (NUM_POINTS,))}")

    def moved(self, scale: np.ndarray, offset: np.ndarray) -> Points:
        """All points times `scale` plus `offset`, each (2,)."""
        return replace(self, xy=self.xy * scale + offset)

    def inside(self, width: int, height: int) -> Points:
        """As far as the points lie in a picture of this size; the others count as not seen."""
        return replace(self, seen=self.seen & ((self.xy >= 0) & (self.xy < (width, height))).all(axis=1))

    def longer_side(self) -> float:
        """Of the box around the joints of the body that are seen, in pixels; 0 for less than two of them."""
        joints = self.xy[PARTS["body"]][self.seen[PARTS["body"]]]
        return float(np.ptp(joints, axis=0).max()) if len(joints) > 1 else 0.0

    def head(self) -> float:
        """From neck to nose, in pixels; 0 where one of them is not seen."""
        return float(np.linalg.norm(self.xy[_NOSE] - self.xy[_NECK])) if self.seen[[_NOSE, _NECK]].all() else 0.0


class PoseErrors:
    """Errors of a video's poses: add its frames in order, then get the result."""

    def __init__(self) -> None:
        self._distances: dict[str, list[float]] = {part: [] for part in PARTS}  # sums of each frame
        self._pairs: dict[str, list[int]] = {part: [] for part in PARTS}  # joints that are seen in both
        self._wanted: dict[str, list[int]] = {part: [] for part in PARTS}
        self._sides: list[float] = []
        self._near = self._measurable = 0
        self._without = 0

    def add(self, people: Sequence[Points], wanted: Points | None) -> None:
        """Add a frame.

        Args:
            people: who is found in it; the one whose body is nearest to the wanted one counts.
            wanted: who drove it, or None: the frame does not count then.
        """
        is_wanted = wanted is not None and bool(wanted.seen.any())
        found = _nearest(people, wanted) if wanted is not None and is_wanted else None
        self._without += is_wanted and found is None
        for part, where in PARTS.items():
            seen = np.zeros(0, bool) if wanted is None else wanted.seen[where]
            both, distances = np.zeros(0, bool), np.zeros(0)
            if found is not None and wanted is not None:
                both = seen & found.seen[where]
                distances = np.linalg.norm(found.xy[where] - wanted.xy[where], axis=1)[both]
            self._wanted[part].append(int(seen.sum()))
            self._pairs[part].append(int(both.sum()))
            self._distances[part].append(float(distances.sum()))
            if part == "body" and wanted is not None and (head := wanted.head()) > 0:
                self._measurable += int(seen.sum())
                self._near += int((distances <= _SHARE_OF_HEAD * head).sum())
        if wanted is not None and (side := wanted.longer_side()) > 0:
            self._sides.append(side)

    def result(self) -> dict[str, Any]:
        """Errors of the frames so far, a dict:

        body, hands, face: dicts of `akd_pixels`, `akd_of_body` (divided by the longer side of the box around the
            driving body, its median over the frames), `mkr` (0 to 1), `points`, the number of points that drove,
            and `frames`: lists of `akd_pixels` and `missing`, of each frame. None for what no frame has.
        pckh_0.5: share of the body's driving joints that the result has within half of the distance from nose to
            neck, of frames that have both; a missing joint is a wrong one.
        num_frames, frames_with_driver, frames_without_person: int; the last one of frames that have a driver.
        """
        unit = float(np.median(self._sides)) if self._sides else None
        counts = zip(*self._wanted.values())
        return {
            **{part: self._part(part, unit) for part in PARTS},
            "pckh_0.5": self._near / self._measurable if self._measurable else None,
            "num_frames": len(self._wanted["body"]),
            "frames_with_driver": sum(any(of_frame) for of_frame in counts),
            "frames_without_person": self._without,
        }

    def _part(self, part: str, unit: float | None) -> dict[str, Any]:
        pairs, wanted = self._pairs[part], self._wanted[part]
        akd = sum(self._distances[part]) / sum(pairs) if sum(pairs) else None
        return {
            "akd_pixels": akd,
            "akd_of_body": akd / unit if akd is not None and unit else None,
            "mkr": 1 - sum(pairs) / sum(wanted) if sum(wanted) else None,
            "points": sum(wanted),
            "frames": {
                "akd_pixels": [
                    distance / count if count else None for distance, count in zip(self._distances[part], pairs)
                ],
                "missing": [count - found if count else None for count, found in zip(wanted, pairs)],
            },
        }


def _nearest(people: Sequence[Points], wanted: Points) -> Points | None:
    """Who has a point in common with the wanted person, and is nearest to it in the mean; nobody near: None."""
    body = PARTS["body"]
    best, least = None, np.inf
    for one in people:
        # Points of the body decide; hands and faces only where there is no body in common.
        both = one.seen & wanted.seen
        both = np.concatenate([both[body], np.zeros(NUM_POINTS - body.stop, bool)]) if both[body].any() else both
        if both.any():
            distance = float(np.linalg.norm(one.xy - wanted.xy, axis=1)[both].mean())
            if distance < least:
                best, least = one, distance
    return best
