"""Poses as nodes of several packages hand them on (POSE_KEYPOINT): OpenPose's JSON, one dict for each frame.

Each has `people`, with x, y and score of each point in a row, in pixels of a canvas; zeros stand for one not seen.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppdiffusers_ext.errors import InputError, counted, shown
from ppdiffusers_ext.options import is_number

if TYPE_CHECKING:
    from ppdiffusers_ext.data.skeletons import Pose, Style

_NAMES = {"body": "pose", "left_hand": "hand_left", "right_hand": "hand_right", "face": "face"}
_COUNTS = {"body": 18, "left_hand": 21, "right_hand": 21, "face": 68}
_ACCEPTED = "keypoints of the node Estimate Poses are accepted"


def to_keypoints(poses: Sequence["Pose"], style: "Style", size: tuple[int, int]) -> list[dict[str, Any]]:
    """The POSE_KEYPOINT of poses, as far as a style draws them on a canvas of (width, height) pixels."""
    from ppdiffusers_ext.preprocess.pose_file import as_drawn, people

    canvas = {"canvas_width": size[0], "canvas_height": size[1]}
    return [
        {
            "people": [
                {f"{_NAMES[part]}_keypoints_2d": _flat(points) for part, points in one.items()}
                for one in people(as_drawn(pose, style), size)
            ],
            **canvas,
        }
        for pose in poses
    ]


def _flat(points: list | None) -> list[float] | None:
    return None if points is None else [number for point in points for number in (point or (0.0, 0.0, 0.0))]


def to_poses(keypoints: Any, frames: int, size: tuple[int, int]) -> dict[str, Any]:
    """Poses in the form of `scripts.estimate_poses`, by which reports measure, of a POSE_KEYPOINT.

    Args:
        keypoints: one dict for each of so many `frames`.
        size: (width, height) of the skeletons' pictures, which are the canvas.

    Raises:
        InputError: it is something else, or of other frames.
    """
    if not isinstance(keypoints, list) or len(keypoints) != frames:
        found = counted(len(keypoints), "frame") if isinstance(keypoints, list) else shown(keypoints)
        raise InputError(f"keypoints are {found}, pose_images has {frames}; as many, of one node, are accepted")
    return {"estimator": "unknown", "frames": [_frame(frame, size) for frame in keypoints]}


def _frame(frame: Any, size: tuple[int, int]) -> dict[str, Any]:
    people = frame.get("people") if isinstance(frame, dict) else None
    if not isinstance(people, list) or not all(isinstance(one, dict) for one in people):
        raise InputError(f"keypoints have {shown(frame)}; {_ACCEPTED}")
    canvas = frame.get("canvas_width"), frame.get("canvas_height")
    if canvas != size:
        raise InputError(f"keypoints are on a canvas of {shown(canvas)} pixels, pose_images has {size}; {_ACCEPTED}")
    return {
        "people": [{part: _points(one.get(f"{_NAMES[part]}_keypoints_2d"), part) for part in _NAMES} for one in people]
    }


def _points(row: Any, part: str) -> list | None:
    """[x, y, score] of each point, None for one that is not seen; None for a part that is not there."""
    if row is None:
        return None
    if not isinstance(row, list) or len(row) != 3 * _COUNTS[part] or not all(map(is_number, row)):
        raise InputError(f"keypoints of a {part.replace('_', ' ')} are {shown(row)}; {_ACCEPTED}")
    points = [row[i : i + 3] for i in range(0, len(row), 3)]
    return [point if point[2] > 0 else None for point in points]


def write_poses(poses: dict[str, Any] | None, folder: str) -> None:
    """Write poses beside pictures of skeletons, where reports look for them; None writes none."""
    if poses is not None:
        (Path(folder) / "poses.json").write_text(json.dumps(poses), encoding="utf-8")
