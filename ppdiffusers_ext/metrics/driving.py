"""Driving poses as JSON, in the form in which `scripts.estimate_poses` writes them, for the evaluation of results."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from ppdiffusers_ext.errors import InputError, counted, shown, shown_path
from ppdiffusers_ext.files import read_json
from ppdiffusers_ext.metrics.poses import SEEN, Points
from ppdiffusers_ext.metrics.result_report import Driver
from ppdiffusers_ext.options import is_number

_MOST = 512 << 20  # bytes: an hour of one person
_FAR = 1e6  # pixels
_LONGEST_NAME = 100  # letters of an estimator's name, which reports show
_ACCEPTED = "a file that scripts.estimate_poses wrote is accepted"
_PARTS = {"body": 18, "left_hand": 21, "right_hand": 21, "face": 68}  # in the order of `Points`


def read_driver(path: str | os.PathLike) -> Driver:
    """The `Driver` of a JSON file: of several people in a frame, the largest drives.

    Raises:
        MissingFileError, InputError: no such file, or one of another form.
    """
    values = read_json(path, "driving poses", _ACCEPTED, most=_MOST)
    if not isinstance(values, dict) or not isinstance(values.get("frames"), list):
        raise _another(path, "it has no list `frames`")
    frames = []
    for number, frame in enumerate(values["frames"]):
        people = frame.get("people") if isinstance(frame, dict) else None
        if not isinstance(people, list):
            raise _another(path, f"frame {number} has no list `people`")
        found = [_person(person, f"frame {number}", path) for person in people]
        frames.append(max(found, key=Points.longer_side, default=None))
    estimator = values.get("estimator")
    if not isinstance(estimator, str) or len(estimator) > _LONGEST_NAME:
        estimator = "unknown"
    return Driver(frames, estimator)


def check_length(path: str | os.PathLike, driver: Driver, num_frames: int, video: str | os.PathLike) -> None:
    """Raises InputError for driving poses of another number of frames than the video has whose people they are."""
    poses: Sequence[Any] = driver.poses or ()
    if len(poses) != num_frames:
        raise InputError(
            f"driving poses {shown_path(path)} have {counted(len(poses), 'frame')}, {shown_path(video)} has "
            f"{num_frames}; as many are accepted, in pixels of its frames"
        )


def _person(values: Any, where: str, path: str | os.PathLike) -> Points:
    if not isinstance(values, dict):
        raise _another(path, f"a person of {where} is {shown(values)}")
    points = np.zeros((sum(_PARTS.values()), 3))
    start = 0
    for part, count in _PARTS.items():
        of_part = values.get(part)
        if of_part is not None and not (isinstance(of_part, list) and len(of_part) == count):
            raise _another(path, f"{part} of a person of {where} is no list of {count} points")
        for number, point in enumerate(of_part or ()):
            if point is None:
                continue
            if not (isinstance(point, list) and len(point) == 3 and all(map(_is_plausible, point))):
                raise _another(path, f"a point of {part} of {where} is {shown(point)}, not [x, y, score] or null")
            points[start + number] = point
        start += count
    return Points(points[:, :2], points[:, 2] > SEEN)


def _is_plausible(value: Any) -> bool:
    return is_number(value) and abs(value) <= _FAR


def _another(path: str | os.PathLike, what: str) -> InputError:
    return InputError(f"driving poses {shown_path(path)}: {what}; {_ACCEPTED}")
