"""Poses of frames as JSON: what `scripts.estimate_poses` writes, and what lies beside a drawing of poses.

Each person has `body` (18 joints in OpenPose's order), `left_hand` and `right_hand` (21 points each) and `face` (68
points). A point is [x, y, score] in pixels; what is not seen is null: a joint, a hand, a face.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from types import TracebackType
from typing import Any, TextIO

import numpy as np

from ppdiffusers_ext.data.outputs import output_file
from ppdiffusers_ext.data.skeletons import Pose, Style


class PoseFile:
    """Writes one frame after another, within a `with` statement.

    Args:
        file: where the text goes.
        estimator: name of what estimated the poses.
        size: (width, height) of the frames in pixels.

    Attributes:
        counts: number of people in each frame.
    """

    def __init__(self, file: TextIO, estimator: str, size: tuple[int, int]) -> None:
        self._file, self._estimator, self._size = file, estimator, size
        self.counts: list[int] = []

    def __enter__(self) -> PoseFile:
        self._file.write(f'{{"estimator": {json.dumps(self._estimator)}, "frames": [')
        return self

    def write(self, pose: Pose) -> None:
        """Write the people of the next frame."""
        self._file.write((",\n" if self.counts else "\n") + json.dumps({"people": people(pose, self._size)}))
        self.counts.append(len(pose))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._file.write("\n]}\n")


@contextlib.contextmanager
def pose_file(path: str | os.PathLike, estimator: str, size: tuple[int, int]) -> Iterator[PoseFile]:
    """Yield the `PoseFile` of a path, which exists complete or not at all. Raises InputError as `output_file`."""
    with output_file(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        with PoseFile(file, estimator, size) as poses:
            yield poses


def as_drawn(pose: Pose, style: Style) -> Pose:
    """A `Pose` of which only what a style draws is seen."""
    hands, face = pose.hands_scores * style.hands, pose.face_scores * style.face
    return replace(pose, hands_scores=hands, face_scores=face)


def people(pose: Pose, size: tuple[int, int]) -> list[dict[str, Any]]:
    """The people of a frame, as in the JSON.

    Args:
        size: (width, height) of the frame in pixels.
    """
    return [
        {
            "body": _points(pose.body[i], pose.body_scores[i], size),
            "left_hand": _part(pose.hands[i, 0], pose.hands_scores[i, 0], size),
            "right_hand": _part(pose.hands[i, 1], pose.hands_scores[i, 1], size),
            "face": _part(pose.face[i], pose.face_scores[i], size),
        }
        for i in range(len(pose))
    ]


def _part(points: np.ndarray, scores: np.ndarray, size: tuple[int, int]) -> list | None:
    """The points of a hand or a face; None if none is seen."""
    return _points(points, scores, size) if (scores > 0).any() else None


def _points(points: np.ndarray, scores: np.ndarray, size: tuple[int, int]) -> list[list[float] | None]:
    """[x, y, score] of each point, to a hundredth of a pixel; None for one that is not seen."""
    rows = zip((points * size).tolist(), scores.tolist())
    return [[round(x, 2), round(y, 2), round(score, 4)] if score > 0 else None for (x, y), score in rows]
