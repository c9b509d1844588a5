"""Pose estimation with the networks that ship with the package, behind the interface of `preprocess.pose`.

MediaPipe's networks (google-ai-edge/mediapipe, Apache-2.0): BlazePose (Bazarevsky et al. 2020, arXiv:2006.10204), its
hands (Zhang et al. 2020, arXiv:2006.10214), BlazeFace (Bazarevsky et al. 2019, arXiv:1907.05047) and its face mesh
(Kartynnik et al. 2019, arXiv:1907.06724).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from ppdiffusers_ext.data.skeletons import VISIBLE, Pose
from ppdiffusers_ext.preprocess.blaze.networks import Networks
from ppdiffusers_ext.preprocess.blaze.people import PeopleFinder, Person

# Of OpenPose's body joints, which of BlazePose's 33 points they are; 33 stands for the neck.
_BODY = [0, 33, 12, 14, 16, 11, 13, 15, 24, 26, 28, 23, 25, 27, 5, 2, 8, 7]
_SHOULDERS = [11, 12]
_HEAD = [0, 14, 15, 16, 17]  # OpenPose's nose, eyes and ears, the right ones first


class EmbeddedEstimator:
    """Finds the poses of all people in frames; people are followed from frame to frame.

    Args:
        networks: the opened `Networks`.

    Attributes:
        name: of the estimator, for reports.
    """

    name = "embedded"

    def __init__(self, networks: Networks) -> None:
        self._networks = networks

    def __call__(self, frames: Iterable[np.ndarray]) -> Iterator[Pose]:
        """Iterable of (H, W, 3) uint8 RGB frames -> iterator over one `Pose` per frame, empty where nobody is.

        Frames are taken one at a time, in the order in which they follow each other; scenes that change are noticed.
        """
        find = PeopleFinder(self._networks)
        for frame in frames:
            yield to_pose(find(frame), (frame.shape[0], frame.shape[1]))


def to_pose(people: Sequence[Person], size: tuple[int, int]) -> Pose:
    """People as a `Pose`. Joints of the body that are out of the picture count as not seen.

    Args:
        size: (height, width) of the frame in pixels.
    """
    if not people:
        return Pose.empty()
    parts = [_arrays(person, np.array([size[1], size[0]], float)) for person in people]
    return Pose(**{name: np.stack([part[name] for part in parts]) for name in parts[0]})


def _arrays(person: Person, unit: np.ndarray) -> dict[str, np.ndarray]:
    """The parts of a `Pose` of one person.

    Args:
        unit: (2,) width and height of the frame.
    """
    body, body_scores = _body(person, unit)
    hands, hands_scores = np.zeros((2, 21, 2)), np.zeros((2, 21))
    for i, hand in enumerate(person.hands):
        if hand is not None:
            hands[i], hands_scores[i] = hand.points / unit, hand.presence
    face, face_scores = np.zeros((68, 2)), np.zeros(68)
    if person.face is not None:
        face, face_scores = person.face.points / unit, np.full(68, person.face.presence)
    return {
        **{"body": body, "body_scores": body_scores},
        **{"hands": hands, "hands_scores": hands_scores, "face": face, "face_scores": face_scores},
    }


def _body(person: Person, unit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(18, 2) joints in fractions of the frame, and their scores, (18,)."""
    points, scores = np.zeros((18, 2)), np.zeros(18)
    if person.body is not None:
        neck = person.body.points[_SHOULDERS].mean(axis=0, keepdims=True)
        points = np.concatenate([person.body.points, neck])[_BODY] / unit
        scores = np.concatenate([person.body.visibility, [0.0]])[_BODY]
    if person.is_close and person.face is not None:
        points[_HEAD], scores[_HEAD] = person.face.joints / unit, person.face.presence
    scores = np.where(((points >= 0) & (points <= 1)).all(axis=-1), scores, 0.0)
    scores[1] = float((scores[[2, 5]] > VISIBLE).all())
    return points, scores
