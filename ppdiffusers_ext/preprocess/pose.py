"""Pose estimation with DWPose.

From DWPose (Yang et al. 2023, arXiv:2307.15880; IDEA-Research/DWPose) as Francis-Rings/StableAnimator uses it
(`DWPose/dwpose_utils`): YOLOX finds people, RTMPose finds 133 points of each of them.
"""

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ppdiffusers_ext.data.skeletons import VISIBLE, Pose
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.files import check_all_there
from ppdiffusers_ext.preprocess.detection import find_people, letterbox
from ppdiffusers_ext.preprocess.networks import OnnxNetwork

DETECTOR, ESTIMATOR = "yolox_l.onnx", "dw-ll_ucoco_384.onnx"
_PADDING = 1.25  # of boxes
_MEAN, _DEVIATION = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])  # ImageNet's, RGB
_SPLIT = 2  # positions that the estimator tells apart in a pixel
_SHOULDERS = [5, 6]
# Of OpenPose's body joints, which of the network's 133 points they are; 133 stands for the neck.
_BODY = [0, 133, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3]
_FACE, _LEFT_HAND, _RIGHT_HAND = slice(23, 91), slice(91, 112), slice(112, 133)


def network_files(folder: str | os.PathLike) -> list[Path]:
    """The files of DWPose's two networks. Raises MissingFileError if they are not there."""
    files = [Path(folder) / name for name in (DETECTOR, ESTIMATOR)]
    check_all_there([("", path) for path in files], "`python scripts/download_weights.py --only DWPose` fetches them")
    return files


class PoseEstimator:
    """Finds the poses of all people in frames.

    Args:
        folder: with `yolox_l.onnx` and `dw-ll_ucoco_384.onnx`.
        device: "cpu" or "gpu".
        channels: order in which the networks see the frames' colours: "rgb", as in StableAnimator, or "bgr", as in
            Moore-AnimateAnyone.
        batch_size: number of frames per call.
        threads: number of CPU threads (default: the number of cores).

    Attributes:
        name: of the estimator, for reports.

    Raises:
        MissingFileError, InputError: see `OnnxNetwork`.
    """

    name = "dwpose"

    def __init__(
        self,
        folder: str | os.PathLike,
        device: str = "cpu",
        channels: str = "rgb",
        batch_size: int = 8,
        threads: int | None = None,
    ) -> None:
        if channels not in ("rgb", "bgr"):
            raise InputError(f"the channels {channels!r} are not known; rgb or bgr is accepted")
        self._is_bgr, self._batch_size = channels == "bgr", batch_size
        detector, estimator = network_files(folder)
        self._detector = OnnxNetwork(detector, device, threads)
        self._estimator = OnnxNetwork(estimator, device, threads)

    def __call__(self, frames: Iterable[np.ndarray]) -> Iterator[Pose]:
        """Iterable of (H, W, 3) uint8 RGB frames -> iterator over one `Pose` per frame.

        If nobody is detected, the whole frame counts as one person, as in the original.
        """
        frames = iter(frames)
        while chunk := list(itertools.islice(frames, self._batch_size)):
            if self._is_bgr:
                chunk = [np.ascontiguousarray(frame[..., ::-1]) for frame in chunk]
            yield from self._estimate(chunk)

    def _estimate(self, frames: list[np.ndarray]) -> Iterator[Pose]:
        size = self._detector.size
        pictures, ratios = zip(*(letterbox(frame, size) for frame in frames))
        (detections,) = self._detector(np.stack(pictures))
        boxes = [find_people(output, ratio, size) for output, ratio in zip(detections, ratios)]
        boxes = [of_frame if len(of_frame) else whole_frame(frame) for of_frame, frame in zip(boxes, frames)]
        points, scores = estimate(self._estimator, frames, boxes)
        for frame, of_frame in zip(frames, boxes):
            count = len(of_frame)
            yield to_pose(points[:count], scores[:count], (frame.shape[0], frame.shape[1]))
            points, scores = points[count:], scores[count:]


def whole_frame(frame: np.ndarray) -> np.ndarray:
    """A box around all of a frame, (1, 4)."""
    height, width = frame.shape[:2]
    return np.array([[0, 0, width, height]])


def estimate(network: Any, frames: Sequence[np.ndarray], boxes: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints of people.

    Args:
        network: called with crops, (n, 3, height, width) float32, returns SimCC scores of columns, (n, 133, 2 width),
            and rows, (n, 133, 2 height). Its `size` is (height, width).
        frames: (H, W, 3) uint8.
        boxes: for each frame, (people, 4).

    Returns:
        Points, (all people, 133, 2) in pixels of their frame, and their scores, (all people, 133).
    """
    height, width = network.size
    crops = [crop(frame, box, network.size) for frame, of_frame in zip(frames, boxes) for box in of_frame]
    pictures, centers, sides = (np.stack(parts) for parts in zip(*crops))
    points, scores = decode(*network(pictures))
    points = points / (width, height) * sides[:, None] + centers[:, None] - sides[:, None] / 2
    return points, scores


def crop(frame: np.ndarray, box: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Crop of a person for the estimator.

    Args:
        frame: (H, W, 3) uint8.
        box: left, top, right, bottom in pixels.
        size: (height, width) of the crop.

    Returns:
        The crop, (3, height, width) float32, normalised; its centre in the frame, (x, y); its sides there, (2,).
    """
    height, width = size
    left, top, right, bottom = box
    center = np.array([left + right, top + bottom]) * 0.5
    across, down = (right - left) * _PADDING, (bottom - top) * _PADDING
    ratio = width / height
    across, down = (across, across / ratio) if across > down * ratio else (down * ratio, down)
    # The centre, the middle of the upper side, and the corner to the left of it.
    source = center + np.array([[0, 0], [0, -0.5], [-0.5, -0.5]]) * across
    target = np.array([[0.5 * width, 0.5 * height]]) + np.array([[0, 0], [0, -0.5], [-0.5, -0.5]]) * width
    matrix = cv2.getAffineTransform(source.astype(np.float32), target.astype(np.float32))
    picture = cv2.warpAffine(frame, matrix, (width, height), flags=cv2.INTER_LINEAR)
    picture = ((picture - _MEAN) / _DEVIATION).transpose(2, 0, 1).astype(np.float32)
    return picture, center, np.array([across, down])


def decode(columns: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """SimCC scores of columns, (n, points, 2 width), and rows, (n, points, 2 height) -> points in pixels of the crop,
    (n, points, 2), and their scores, (n, points). Points whose score is not positive lie at -0.5."""
    points = np.stack([columns.argmax(axis=-1), rows.argmax(axis=-1)], axis=-1).astype(np.float32)
    scores = np.minimum(columns.max(axis=-1), rows.max(axis=-1))
    points[scores <= 0] = -1
    return points / _SPLIT, scores


def to_pose(points: np.ndarray, scores: np.ndarray, size: tuple[int, int]) -> Pose:
    """The network's points, (people, 133, 2) in pixels, and their scores, (people, 133), as a `Pose`.

    Args:
        size: (height, width) of the frame.
    """
    neck = points[:, _SHOULDERS].mean(axis=1, keepdims=True)
    points = np.concatenate([points, neck], axis=1) / np.array([size[1], size[0]], points.dtype)
    # Not its parts' score: only whether both are seen.
    neck_score = (scores[:, _SHOULDERS] > VISIBLE).all(axis=1, keepdims=True)
    scores = np.concatenate([scores, neck_score.astype(scores.dtype)], axis=1)
    hands = (_LEFT_HAND, _RIGHT_HAND)
    return Pose(
        body=points[:, _BODY],
        body_scores=scores[:, _BODY],
        hands=np.stack([points[:, hand] for hand in hands], axis=1),
        hands_scores=np.stack([scores[:, hand] for hand in hands], axis=1),
        face=points[:, _FACE],
        face_scores=scores[:, _FACE],
    )
