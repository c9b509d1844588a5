"""Whether people are in a picture, how many, how much of them is seen and how large: numbers to choose clips by.

The networks are those that ship with the package. They see people in blots now and then, so here only those count
that have a face, or of whom nearly the whole body is seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ppdiffusers_ext.preprocess.blaze.networks import Networks
from ppdiffusers_ext.preprocess.blaze.people import PeopleFinder, Person

# Of BlazePose's 33 points: nose, and left and right shoulders, elbows, wrists, hips, knees and ankles.
_JOINTS = [0, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28]
_SEEN = 0.5  # visibility from which a joint counts as seen
_SURE, _MOST_JOINTS = 0.99, 9  # certainty of a body, and joints of it, from which on no face is needed


@dataclass(frozen=True)
class Presence:
    """People in a picture.

    Attributes:
        count: of people.
        visibility: share of the main joints, and the nose, of the largest person that are seen, 0 to 1.
        share: of the picture that the box around what is seen of that person covers, 0 to 1.
    """

    count: int
    visibility: float
    share: float


def find_presence(networks: Networks, frame: np.ndarray) -> Presence:
    """The `Presence` in a frame, (H, W, 3) uint8 RGB, whatever is in others."""
    return presence_of(PeopleFinder(networks)(frame), frame.shape[0], frame.shape[1])


def presence_of(people: Sequence[Person], height: int, width: int) -> Presence:
    """The `Presence` of what was found in a frame of this size."""
    seen = [_look(person, np.array([width, height], float)) for person in people]
    shares = [(share, visibility) for is_certain, visibility, share in seen if is_certain]
    share, visibility = max(shares, default=(0.0, 0.0))
    return Presence(len(shares), visibility, share)


def _look(person: Person, size: np.ndarray) -> tuple[bool, float, float]:
    """Whether it is a person for certain, its visibility, and its share of the picture."""
    points, joints, is_whole = np.zeros((0, 2)), 0, False
    if person.body is not None:
        inside = ((person.body.points >= 0) & (person.body.points <= size)).all(axis=1)
        is_seen = inside & (person.body.visibility >= _SEEN)
        points, joints = person.body.points[is_seen], int(is_seen[_JOINTS].sum())
        is_whole = person.body.presence >= _SURE and joints >= _MOST_JOINTS
    if person.face is not None:
        points = np.concatenate([points, person.face.mesh])
        joints = max(joints, 1)
    if not len(points):
        return False, 0.0, 0.0
    points = np.clip(points, 0, size)
    share = float(((points.max(axis=0) - points.min(axis=0)) / size).prod())
    return person.face is not None or is_whole, joints / len(_JOINTS), share
