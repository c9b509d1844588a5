"""Poses that are kept in the folder of a run's state: a run that was stopped does not estimate them again.

They are estimated before anything else, which takes long for a long video. When all are there they are written as
tensors beside the state of the run (`resuming`), under an index of their own, which says what they were made of.
"""

import dataclasses
import logging
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ppdiffusers_ext.data.records import Made
from ppdiffusers_ext.data.skeletons import Pose
from ppdiffusers_ext.errors import InputError, counted, shown_path
from ppdiffusers_ext.pipelines.state_folder import DAMAGED, POSES, POSES_INDEX, StateFolder
from ppdiffusers_ext.preprocess.videos import FoundPoses

logger = logging.getLogger(__name__)

WORTH = 2.0  # seconds of estimating that are worth being kept

_FORMAT = 1
_COUNTS, _PICTURE, _DRIVING = "people", "picture", "driving"
_SHAPES = {name: array.shape[1:] for name, array in vars(Pose.empty()).items()}


class KeptPoses:
    """The poses of one run to one output, for `with`, within which the run is made.

    They stay where the block raises, unless the run is refused by an InputError and has no other state.

    Args:
        target: path of the output.
        made_of: returns the `Made` of the poses; called where it counts, since it reads the inputs.
        is_kept: whether the run keeps a state.
        begins_anew: use nothing of an earlier run.
    """

    def __init__(
        self, target: str | os.PathLike, made_of: Callable[[], Made], is_kept: bool = True, begins_anew: bool = False
    ) -> None:
        self._folder, self._made_of = StateFolder(target), made_of
        self._is_kept, self._begins_anew = is_kept, begins_anew
        self._words = ""  # for what is on the disk

    def __enter__(self) -> "KeptPoses":
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if not self._words or kind is None or self._folder.has_index:
            return  # what is there is told with the state of the run
        if issubclass(kind, InputError):
            self._folder.remove()
        elif self._folder.exists:
            logger.warning("stopped; the same command does not estimate %s again, which are kept in %s (%s)",
                           self._words, shown_path(self._folder.path), self._folder.size())  # fmt: skip

    def read(self) -> FoundPoses | None:
        """The poses that an earlier run has kept; None where there are none, or, which is told, not these."""
        folder = self._folder
        if not self._is_kept or self._begins_anew or not folder.has_poses:
            return None
        try:
            if not folder.claim():
                return None
            index = folder.read_index(POSES_INDEX)
            if index["format"] != _FORMAT:
                raise ValueError("it is of another version")
            of = index["made"]
            made = Made(of["command"], dict(of["inputs"]), dict(of["options"]))
            if different := made.differences(self._made_of()):
                logger.warning("discarded the poses of an earlier run in %s: %s",
                               shown_path(folder.path), ", ".join(different))  # fmt: skip
                return None
            found = _decode({name: tensor.numpy() for name, tensor in folder.read(index["poses"]).items()})
        except DAMAGED as error:
            folder.tell_damage(error)
            return None
        finally:
            folder.release()
        self._words = _words(found)
        logger.warning("%s are those that an earlier run has kept", self._words)
        return found

    def keep(self, found: FoundPoses, seconds: float) -> None:
        """Write the poses, if it is worth it.

        Args:
            found: with which the run goes on.
            seconds: which they took.
        """
        arrays = _encode(found)
        if not self._is_kept or seconds < WORTH or arrays is None:
            return
        try:
            if self._folder.claim():
                file = self._folder.write(POSES, arrays)
                index = {"format": _FORMAT, "made": dataclasses.asdict(self._made_of()), "poses": file}
                self._folder.write_index(index, POSES_INDEX)
                self._words = _words(found)
        except OSError as error:
            logger.warning("the run goes on, but its poses cannot be kept in %s (%s)",
                           shown_path(self._folder.path), error.strerror or error)  # fmt: skip
        finally:
            self._folder.release()


def _words(found: FoundPoses) -> str:
    return f"the poses of {counted(len(found.driving), 'frame')}"


def _encode(found: FoundPoses) -> dict[str, np.ndarray] | None:
    """Arrays by name; None where the people of a video are not of one precision, which one array cannot hold."""
    arrays = {_COUNTS: np.array([len(pose) for pose in found.driving], np.int64)}
    for name in _SHAPES:
        of_frames = [getattr(pose, name) for pose in found.driving if len(pose)]
        if len({array.dtype for array in of_frames}) > 1:
            return None
        empty = getattr(Pose.empty(), name)
        arrays[f"{_DRIVING}.{name}"] = np.ascontiguousarray(np.concatenate(of_frames) if of_frames else empty)
        arrays[f"{_PICTURE}.{name}"] = np.ascontiguousarray(getattr(found.picture, name))
    return arrays


def _decode(arrays: Mapping[str, np.ndarray]) -> FoundPoses:
    """What `_encode` was given. Raises ValueError, KeyError for other arrays."""
    counts = arrays[_COUNTS]
    if counts.ndim != 1 or counts.dtype.kind != "i" or (counts < 0).any():
        raise ValueError("it has no numbers of people")
    picture, driving = (_pose_of(arrays, part) for part in (_PICTURE, _DRIVING))
    if len(driving) != counts.sum():
        raise ValueError(f"it has {len(driving)} people for {counts.sum()}")
    ends = np.cumsum(counts)
    return FoundPoses(picture, [_people(driving, int(end - count), int(end)) for end, count in zip(ends, counts)])


def _pose_of(arrays: Mapping[str, np.ndarray], part: str) -> Pose:
    pose = Pose(**{name: arrays[f"{part}.{name}"] for name in _SHAPES})
    for name, shape in _SHAPES.items():
        array = getattr(pose, name)
        if array.dtype.kind != "f" or array.shape != (len(pose), *shape):
            raise ValueError(f"{part}.{name} is {array.dtype} of {array.shape}")
    return pose


def _people(pose: Pose, start: int, end: int) -> Pose:
    if start == end:
        return Pose.empty()
    return Pose(**{name: getattr(pose, name)[start:end] for name in _SHAPES})
