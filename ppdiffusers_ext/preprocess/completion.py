"""Completion of driving poses: what a driving video never shows is taken from the pose of the reference picture.

A talking head drives a picture of a whole person: its poses have a head and no body, and a network that is given such
skeletons draws a head alone. Here the person of the picture stays whole, and only what the video shows moves.

Whether a joint is seen is decided once for the whole clip, not in each frame: if a joint that is hidden in some frames
were taken from the picture in these, it would jump there and back. So such joints stay absent in these frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from ppdiffusers_ext.data.openpose import KEYPOINTS
from ppdiffusers_ext.data.skeletons import VISIBLE, Pose

PICTURE, NONE = "picture", "none"
CHOICES = (PICTURE, NONE)

# A joint counts as not seen if it is seen in less than this share of the frames, and in fewer than so many: networks
# take shadows at the border of a frame for a shoulder now and then.
_RARELY, _FEW = 0.05, 25
# Share of the length of neck or trunk by which the parts at its ends move against each other before both move.
_LEEWAY = 0.25
_HEAD, _CHEST, _HIPS, _KNEES = (0, 14, 15, 16, 17), (1, 2, 5), (8, 11), (9, 12)
_WRISTS = (7, 4)  # left before right, as the hands of `Pose`


@dataclass(frozen=True)
class _Link:
    """Joints that are taken from the picture together, and those at which they hang.

    Head, shoulders and hips are taken as wholes: if one of them is seen, the others are hidden by the body that is
    turned away, not out of the picture, and a body that is turned away must not get the picture's face or shoulder.
    """

    joints: tuple[int, ...]
    at: tuple[int, ...]
    leeway: float = 0.0


_LINKS = (
    _Link(_CHEST, _HEAD, _LEEWAY),
    _Link(_CHEST, _HIPS, _LEEWAY),
    _Link(_HEAD, (1,)),
    _Link(_HIPS, (1,), _LEEWAY),
    _Link(_HIPS, _KNEES),
    *(_Link((joint,), (joint - 1,)) for joint in (3, 4, 6, 7, 9, 10, 12, 13)),
)


def complete(reference: Pose, driven: Sequence[Pose], size: tuple[float, float]) -> tuple[list[Pose], tuple[str, ...]]:
    """Take the joints that no frame shows from the reference, as far as it shows them.

    A part hangs at one that is seen: the shoulders at the head, the hips at the neck, a forearm at its elbow. It keeps
    its place in the picture and moves as far as the other one has moved from its own place there. Shoulders and hips
    stand still while the other moves by less than a quarter of the neck or the trunk: a head that nods moves no feet.
    Hands go with their wrists, the face with the head.

    Args:
        reference: `Pose` of the picture; the first person counts.
        driven: aligned `Pose` of one person or of nobody for each frame; nobody stays nobody.
        size: (height, width) of the picture, in any unit.

    Returns:
        As many `Pose`, and the names of what was taken in OpenPose's order, then "l_hand", "r_hand", "face".
    """
    people = [pose for pose in driven if len(pose)]
    if not len(reference) or not people:
        return list(driven), ()
    clip = _Clip(reference.person(0), people, np.array([size[1], size[0]], float))
    clip.fill()
    filled = iter(clip.poses())
    return [next(filled) if len(pose) else pose for pose in driven], clip.names()


class _Clip:
    """The frames that show the person, while joints are taken.

    Args:
        reference: `Pose` of one.
        people: a `Pose` of one for each frame.
        unit: (2,) width and height.
    """

    def __init__(self, reference: Pose, people: Sequence[Pose], unit: np.ndarray) -> None:
        self._reference, self._people, self._unit = reference, people, unit
        visible = np.concatenate([pose.visible() for pose in people])  # (frames, 18)
        counts, shown = visible.sum(axis=0), reference.visible()[0]
        self._seen = (counts > 0) & (counts >= min(_RARELY * len(people), _FEW))
        self._shown = shown
        # How far each joint is from its place in the picture, of those that both show and later of what is taken.
        self._moved: dict[int, np.ndarray] = {}  # joint -> (frames, 2)
        for joint in np.flatnonzero(self._seen & shown):
            places = np.stack([pose.body[0, joint] for pose in people])
            frames, of = np.arange(len(people)), np.flatnonzero(visible[:, joint])
            moved = places[of] - reference.body[0, joint]
            # What hangs at it must not jump where it is hidden: it goes from where it was seen to where it is next.
            self._moved[int(joint)] = np.stack([np.interp(frames, of, moved[:, axis]) for axis in (0, 1)], axis=1)
        self._taken: list[int] = []

    def fill(self) -> None:
        """Take one part after the other, until nothing hangs at what is there."""
        links = list(_LINKS)
        while link := next((link for link in links if self._can_take(link)), None):
            self._take(link)

    def _can_take(self, link: _Link) -> bool:
        is_absent = not any(self._seen[joint] or joint in self._taken for joint in link.joints)
        return is_absent and self._shown[list(link.joints)].any() and any(joint in self._moved for joint in link.at)

    def _take(self, link: _Link) -> None:
        at = [joint for joint in link.at if joint in self._moved]
        joints = [joint for joint in link.joints if self._shown[joint]]
        moved = np.mean([self._moved[joint] for joint in at], axis=0)  # (frames, 2)
        body = self._reference.body[0] * self._unit
        slack = link.leeway * np.linalg.norm(body[at].mean(axis=0) - body[joints].mean(axis=0))
        far = np.linalg.norm(moved * self._unit, axis=1, keepdims=True)
        moved = moved * np.clip(1 - slack / np.maximum(far, 1e-12), 0, 1)
        for joint in joints:
            self._moved[joint] = moved
            self._taken.append(joint)

    def _hands(self) -> list[int]:
        """The hands that go with wrists that were taken: 0 the left, 1 the right."""
        return [hand for hand, wrist in enumerate(_WRISTS) if wrist in self._taken]

    @property
    def _with_face(self) -> bool:
        return any(joint in self._taken for joint in _HEAD)

    def poses(self) -> list[Pose]:
        """The completed `Pose` of each frame."""
        return [self._pose(pose, frame) for frame, pose in enumerate(self._people)] if self._taken else [*self._people]

    def _pose(self, pose: Pose, frame: int) -> Pose:
        reference = self._reference
        new = {item.name: getattr(pose, item.name).copy() for item in fields(Pose)}
        for joint in self._taken:
            new["body"][0, joint] = reference.body[0, joint] + self._moved[joint][frame]
            new["body_scores"][0, joint] = reference.body_scores[0, joint]
        for hand in self._hands():
            new["hands"][0, hand] = reference.hands[0, hand] + self._moved[_WRISTS[hand]][frame]
            new["hands_scores"][0, hand] = reference.hands_scores[0, hand]
        if self._with_face:
            joint = next(joint for joint in _HEAD if joint in self._taken)
            new["face"][0] = reference.face[0] + self._moved[joint][frame]
            new["face_scores"][0] = reference.face_scores[0]
        return replace(pose, **new)

    def names(self) -> tuple[str, ...]:
        """The names of what was taken."""
        hands = [f"{'lr'[hand]}_hand" for hand in self._hands() if _is_seen(self._reference.hands_scores[0, hand])]
        face = ["face"] if self._with_face and _is_seen(self._reference.face_scores[0]) else []
        return (*(KEYPOINTS[joint] for joint in sorted(self._taken)), *hands, *face)


def _is_seen(scores: np.ndarray) -> bool:
    return bool((scores > VISIBLE).any())
