"""Joints of the person in a clip as numbers, which may be beside its frames."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ppdiffusers_ext.data.openpose import KEYPOINTS
from ppdiffusers_ext.data.skeletons import Pose
from ppdiffusers_ext.errors import InputError


def keypoints_of(poses: Iterable[Pose]) -> np.ndarray:
    """(frames, 18, 3) fp32 of the first person in each `Pose`: x and y in parts of the picture, and a score."""
    joints = [np.concatenate([pose.body[0], pose.body_scores[0][:, None]], 1) for pose in poses]
    return np.stack(joints).astype(np.float32)


def read_keypoints(path: Path, num_frames: int) -> np.ndarray:
    """The joints of a clip: (num_frames, 18, 3) fp32, x and y in parts of the picture, and scores.

    Raises:
        InputError: the file holds something else.
    """
    shape = (num_frames, len(KEYPOINTS), 3)
    accepted = f"an array of numbers {shape} is accepted: x and y in parts of the picture, and a score"
    try:
        joints = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise InputError(f"{path} cannot be read as joints; {accepted}") from error
    if not isinstance(joints, np.ndarray) or joints.shape != shape or joints.dtype.kind not in "fiu":
        held = f"{joints.dtype} {joints.shape}" if isinstance(joints, np.ndarray) else "several arrays"
        raise InputError(f"{path} holds {held}; {accepted}")
    joints = np.array(joints, np.float32)
    if not np.isfinite(joints).all():
        raise InputError(f"{path} has numbers that are not finite; {accepted}")
    return joints
