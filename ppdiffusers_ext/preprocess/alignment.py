"""Alignment of the poses of a driving video with the position and size of the body in the reference picture.

`fit_original` is the alignment of Francis-Rings/StableAnimator (`DWPose/skeleton_extraction.py`): a straight line
through heights of joints. The line is too flat if poses differ much, the figure is distorted if the aspect ratios
differ, and joints that are not visible count too. `fit` compares lengths of limbs instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ppdiffusers_ext.data.openpose import KEYPOINTS, LIMBS
from ppdiffusers_ext.errors import InputError

if TYPE_CHECKING:
    from ppdiffusers_ext.data.skeletons import Pose


# The limbs whose lengths tell the size of a body: trunk, arms and legs, and the sides of the trunk.
_TRUNK = ((2, 5), (8, 11), (2, 8), (5, 11))
_LENGTHS = (*LIMBS[:13], *_TRUNK)
_LONGEST = 0.9  # quantile over frames: a limb that points at the camera looks short, none looks too long
# Without arms and knees, which move most.
_ORIGINAL_JOINTS = [0, 1, 2, 5, *range(8, 18)]
_STEADY_JOINTS = [0, 1, 2, 5, 8, 11]


@dataclass(frozen=True)
class Alignment:
    """coordinates -> coordinates * scale + offset, in fractions of the driving frames and of the reference picture.

    Attributes:
        scale, offset: (2,) each.
        missing: names of joints of the body that the reference does not show.
    """

    scale: np.ndarray
    offset: np.ndarray
    missing: tuple = ()

    def __call__(self, pose: Pose) -> Pose:
        return pose.moved(self.scale, self.offset)


def fit_original(reference: Pose, driven: Sequence[Pose]) -> Alignment:
    """The `Alignment` of StableAnimator.

    Args:
        reference: `Pose` of the picture; the first person counts.
        driven: `Pose` of each frame; frames of exactly one person count.

    Raises:
        InputError: nobody in the picture, no frame of one person, or too few joints.
    """
    body, visible, missing = _reference_body(reference)
    joints = [joint for joint in _ORIGINAL_JOINTS if visible[joint]]
    bodies = [pose.body[0][joints] for pose in driven if len(pose) == 1]
    _check_frames(bodies)
    _check_joints(joints)
    x, y = np.stack(bodies).reshape(-1, 2).T
    target_x, target_y = np.tile(body[joints], (len(bodies), 1)).T
    scale, offset_y = np.polyfit(y, target_y, 1)
    offset = np.array([np.mean(target_x - scale * x), offset_y])
    return Alignment(np.array([scale, scale]), offset, missing)


def fit(
    reference: Pose, driven: Sequence[Pose], reference_size: tuple[float, float], driven_size: tuple[float, float]
) -> Alignment:
    """`Alignment` that keeps the shape of the figure.

    The size comes from the lengths of the limbs that are visible in both the picture and the video, each at its
    longest, so that turning and bending do not count. The position comes from the joints of head and trunk, each at
    its median.

    Args:
        reference: `Pose` of the picture; the first person counts.
        driven: `Pose` of each frame; the first person of each counts.
        reference_size, driven_size: (height, width) of the picture and of the frames, in any unit.

    Raises:
        InputError: nobody in the picture or the video, or no limb and no joint visible in both.
    """
    body, visible, missing = _reference_body(reference)
    frames = [pose for pose in driven if len(pose)]
    _check_frames(frames)
    bodies = np.stack([pose.body[0] for pose in frames])  # (frames, joints, 2)
    seen = np.stack([pose.visible()[0] for pose in frames])  # (frames, joints)
    common = [joint for joint in range(len(KEYPOINTS)) if visible[joint] and seen[:, joint].any()]
    _check_joints(common)
    reference_unit, driven_unit = (np.array([size[1], size[0]]) for size in (reference_size, driven_size))
    ratio = _size_ratio(body * reference_unit, bodies * driven_unit, seen, common)
    scale = ratio * driven_unit / reference_unit
    joints = [joint for joint in _STEADY_JOINTS if joint in common] or common
    places = np.stack([np.median(bodies[seen[:, joint], joint], axis=0) for joint in joints])
    return Alignment(scale, np.mean(body[joints] - places * scale, axis=0), missing)


def _reference_body(reference: Pose) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """The body of the first person, which of its joints are seen, and the names of those that are not."""
    if not len(reference) or not reference.visible()[0].any():
        raise InputError(
            "nobody is found in the reference picture; a picture that shows a person, or no alignment (animate's "
            "--align none), is accepted"
        )
    visible = reference.visible()[0]
    return reference.body[0], visible, tuple(name for name, is_seen in zip(KEYPOINTS, visible) if not is_seen)


def _check_frames(frames: Sequence) -> None:
    if not frames:
        raise InputError(
            "no frame of the driving video shows one person; a video of a person is accepted, and by scripts.pose2vid "
            "and scripts.stable_animator one of skeletons"
        )


def _check_joints(joints: Sequence[int]) -> None:
    if len(joints) < 2:
        raise InputError(
            "the reference picture and the driving video have fewer than 2 joints of the body in common; "
            "a picture and a video that show the same part of the body, or no alignment (animate's --align none), are "
            "accepted"
        )


def _size_ratio(body: np.ndarray, bodies: np.ndarray, seen: np.ndarray, common: Sequence[int]) -> float:
    """How much larger the reference's body is, by lengths of limbs, or of any joints' distance if it shows no limb."""
    pairs = [pair for pair in _LENGTHS if set(pair) <= set(common)]
    pairs = pairs or [(i, j) for i in common for j in common if i < j]
    ratios = []
    for i, j in pairs:
        lengths = np.linalg.norm(bodies[:, i] - bodies[:, j], axis=1)[seen[:, i] & seen[:, j]]
        longest = np.quantile(lengths, _LONGEST) if lengths.size else 0
        if longest > 0:
            ratios.append(np.linalg.norm(body[i] - body[j]) / longest)
    ratio = np.median(ratios) if ratios else 0
    if not ratio > 0:
        raise InputError(
            "no limb is seen both in the reference picture and in the driving video; a picture and a video that show "
            "the same part of the body, or no alignment (animate's --align none), are accepted"
        )
    return ratio
