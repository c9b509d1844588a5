"""Where each place of a frame lies in its reference, as far as the joints of the person tell.

A body is taken apart into limbs, trunk and head. What lies on one of them in the frame lies at the same place of the
same part in the reference: as far along the limb and as far beside it, in lengths of the trunk. What lies on none is
taken for background, which does not move.
"""

from dataclasses import dataclass

import numpy as np

from ppdiffusers_ext.data.openpose import KEYPOINTS

# Ends of each limb, by joint; half of its width, and how far hand or foot goes beyond, in lengths of the trunk.
_LIMBS = tuple(
    (KEYPOINTS.index(f"{side}_{first}"), KEYPOINTS.index(f"{side}_{second}"), width, beyond)
    for side in ("r", "l")
    for first, second, width, beyond in (
        ("shoulder", "elbow", 0.15, 0.0),
        ("elbow", "wrist", 0.14, 0.25),
        ("hip", "knee", 0.19, 0.0),
        ("knee", "ankle", 0.17, 0.2),
    )
)
_NECK, *_CORNERS = (KEYPOINTS.index(name) for name in ("neck", "r_shoulder", "l_shoulder", "r_hip", "l_hip"))
_HEAD = [KEYPOINTS.index(name) for name in ("nose", "r_eye", "l_eye", "r_ear", "l_ear")]
_TRUNK_WIDTH, _TRUNK_LENGTH = 1.3, 1.36  # of the distances from the middle to a shoulder and from neck to hips
_HEAD_RADIUS = 0.46  # in lengths of the trunk, hair included
_NARROW, _SHORT = 0.15, 0.08  # a trunk from the side and a limb from its end are this wide and long at least


@dataclass(frozen=True)
class BodyPlaces:
    """
    Attributes:
        points: (n, 2), x and y of where places lie in the reference.
        on_body: (n,) bool, whether a place is on the person.
        known: (n,) bool, whether it is there to be seen in the reference: all but background that the person covers.
    """

    points: np.ndarray
    on_body: np.ndarray
    known: np.ndarray


def find_places(places: np.ndarray, frame: np.ndarray, reference: np.ndarray) -> BodyPlaces:
    """The `BodyPlaces` of places of a frame.

    Args:
        places: (n, 2), x and y, of any unit of length.
        frame, reference: joints of the person in both, (18, 3): x and y of the same unit, and a score, which is 0
            for what is not seen. Without shoulders and hips in both, all is background.
    """
    own, others = _Body.of(frame), _Body.of(reference)
    if own is None or others is None:
        everywhere = np.ones(len(places), bool)
        return BodyPlaces(places, ~everywhere, everywhere)
    distances, _ = others.locate(places)
    is_covered = distances.min(axis=1) < 1
    distances, locations = own.locate(places)
    distances = np.where(others.has, distances, np.inf)
    part, on_body = distances.argmin(axis=1), distances.min(axis=1) < 1
    found = others.place(part, locations[np.arange(len(places)), part])
    return BodyPlaces(np.where(on_body[:, None], found, places), on_body, on_body | ~is_covered)


@dataclass(frozen=True)
class _Body:
    """A person's parts: the limbs of `_LIMBS`, trunk and head.

    Attributes:
        origins: (parts, 2).
        axes: (parts, 2, 2), the unit of length along and beside each part, as rows.
        has: (parts,) bool, which are seen.
        trunk: its length.
    """

    origins: np.ndarray
    axes: np.ndarray
    has: np.ndarray
    trunk: float

    @classmethod
    def of(cls, joints: np.ndarray) -> "_Body | None":
        points, seen = joints[:, :2].astype(np.float64), joints[:, 2] > 0
        if not seen[_CORNERS].all():
            return None
        right, left, *hips = points[_CORNERS]
        neck = points[_NECK] if seen[_NECK] else (right + left) / 2
        spine = np.mean(hips, axis=0) - neck
        trunk = float(np.linalg.norm(spine))
        if trunk < 1e-6:
            return None
        down = spine / trunk
        half = float(((left - right) / 2) @ _beside(down))  # below 0 of a person who is seen from behind
        half = float(np.copysign(max(abs(half), _NARROW * trunk), half))
        head = points[_HEAD][seen[_HEAD]].mean(axis=0) if seen[_HEAD].any() else neck - 0.35 * spine
        parts = [_limb(points, seen, first, second, trunk) for first, second, _, _ in _LIMBS]
        parts.append((neck, np.stack([spine, half * _beside(down)]), True))
        parts.append((head, trunk * np.stack([down, _beside(down)]), True))  # it leans as the trunk does
        origins, axes, has = (np.array(values) for values in zip(*parts))
        return cls(origins, axes, has, trunk)

    def locate(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How far places (n, 2) are from the middle of each part, 1 on its border: (n, parts); and where they are on
        it: (n, parts, 2), along and beside it, in its axes."""
        along_beside = np.einsum("npi,pij->npj", places[:, None] - self.origins, np.linalg.inv(self.axes))
        distances = np.empty(along_beside.shape[:2])
        for number, (_, _, width, beyond) in enumerate(_LIMBS):
            length = np.linalg.norm(self.axes[number, 0]) / self.trunk
            along, beside = (along_beside[:, number] * (length, 1)).T
            outside = np.maximum(np.maximum(-along, along - length - beyond), 0)
            distances[:, number] = np.hypot(outside, beside) / width
        along, beside = np.abs(along_beside[:, -2] - (0.5, 0)).T
        distances[:, -2] = np.maximum(2 * along / _TRUNK_LENGTH, beside / _TRUNK_WIDTH)
        distances[:, -1] = np.linalg.norm(along_beside[:, -1], axis=1) / _HEAD_RADIUS
        return np.where(self.has, distances, np.inf), along_beside

    def place(self, parts: np.ndarray, locations: np.ndarray) -> np.ndarray:
        """Where locations (n, 2) on parts (n,) are: (n, 2)."""
        return np.asarray(self.origins[parts] + np.einsum("ni,nij->nj", locations, self.axes[parts]))


def _limb(
    points: np.ndarray, seen: np.ndarray, first: int, second: int, trunk: float
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Origin, axes and whether it is seen, of the limb between two joints."""
    way = points[second] - points[first]
    length = float(np.linalg.norm(way))
    along = way / length if length > 1e-9 else np.array([0.0, 1.0])
    axes = np.stack([max(length, _SHORT * trunk) * along, trunk * _beside(along)])
    return points[first], axes, bool(seen[first] and seen[second])


def _beside(direction: np.ndarray) -> np.ndarray:
    """A direction (2,), turned by a quarter."""
    return np.array([-direction[1], direction[0]])
