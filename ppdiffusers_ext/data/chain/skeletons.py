"""Skeletons of clips, drawn as the released weights of a system were trained: a video of each clip, or pictures.

MooreThreads' `tools/extract_dwpose_from_vid.py` makes the videos, and Francis-Rings'
`DWPose/training_skeleton_extraction.py` the pictures; see `preprocess.videos`.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ppdiffusers_ext.data.chain.steps import Columns, Place, Row, Step
from ppdiffusers_ext.data.frames import frame_name, open_frames
from ppdiffusers_ext.data.images import write_image
from ppdiffusers_ext.data.outputs import output_folder
from ppdiffusers_ext.preprocess.estimators import EMBEDDED, Estimator, open_estimator
from ppdiffusers_ext.preprocess.extraction import TrackOptions, draw, style_of
from ppdiffusers_ext.preprocess.videos import write_skeleton_video

if TYPE_CHECKING:
    import numpy as np

    from ppdiffusers_ext.data.skeletons import Pose

IMAGES, POSES = "images", "poses"  # folders of a clip's pictures


@dataclass(frozen=True, kw_only=True)
class Skeletons(Step):
    """What the two ways of drawing share; `skeleton_share` is the share of frames in which somebody is found.

    Attributes:
        style: name of the `Style`, of which weights were trained with it.
        folder: below the folder of the run, for what is drawn.
        estimator: "dwpose" or "embedded"; see `preprocess.estimators`.
        hands, face: whether these are drawn.
    """

    name: ClassVar[str] = "skeletons"
    needs: ClassVar[tuple[str, ...]] = ("split",)
    is_network: ClassVar[bool] = True
    is_gated: ClassVar[bool] = True

    style: str
    folder: str
    estimator: str = EMBEDDED
    hands: bool = True
    face: bool = True

    def open(self, place: Place) -> None:
        """Open the networks, once in a process."""
        _opened(self.estimator)

    def __call__(self, row: Row, place: Place) -> Columns:
        counting = _Counting(_opened(self.estimator))
        columns = self._draw(row, place, counting)
        return {**columns, "skeleton_share": round(counting.found / max(counting.frames, 1), 5)}

    def _draw(self, row: Row, place: Place, estimator: Estimator) -> Columns:
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class SkeletonVideos(Skeletons):
    """Draws one person of each clip as a video, FOLDER/KEY below the folder of the run: the column `kps_path`.

    Attributes:
        person, gap, smoothing: see `TrackOptions`; as the original's.
    """

    person: str = "surest"
    gap: int = 0
    smoothing: float = 0.0

    def _draw(self, row: Row, place: Place, estimator: Estimator) -> Columns:
        path = f"{self.folder}/{row['key']}"
        style, track = style_of(self.style, self.hands, self.face), TrackOptions(self.person, self.gap, self.smoothing)
        write_skeleton_video(place.file_of(row), place.output / path, estimator, style, track)
        return {"kps_path": path}

    def is_kept(self, columns: Row, place: Place) -> bool:
        """Whether the video is there still."""
        return (place.output / columns["kps_path"]).is_file()

    def forget(self, columns: Row, place: Place) -> None:
        """Remove the video."""
        (place.output / columns["kps_path"]).unlink(missing_ok=True)


@dataclass(frozen=True, kw_only=True)
class SkeletonPictures(Skeletons):
    """Takes clips apart into pictures, and draws all people of each.

    FOLDER/KEY without its ending, below the folder of the run, is the column `clip_folder`; in it are the folders
    `images` and `poses` with frame_0.png, frame_1.png and so on.
    """

    def _draw(self, row: Row, place: Place, estimator: Estimator) -> Columns:
        path = folder_of(self.folder, row)
        source, target = open_frames(place.file_of(row)), place.output / path
        style = style_of(self.style, self.hands, self.face)
        with contextlib.ExitStack() as stack:
            images, poses = (new_folder(target / name, stack) for name in (IMAGES, POSES))
            drawn = draw(estimator(_written(source, images)), source.width, source.height, style)
            for index, skeleton in enumerate(drawn):
                write_image(poses / frame_name(index), skeleton)
        return {"clip_folder": path}

    def is_kept(self, columns: Row, place: Place) -> bool:
        """Whether the pictures are there still."""
        return all((place.output / columns["clip_folder"] / name).is_dir() for name in (IMAGES, POSES))

    def forget(self, columns: Row, place: Place) -> None:
        """Remove the pictures."""
        for name in (IMAGES, POSES):
            shutil.rmtree(place.output / columns["clip_folder"] / name, ignore_errors=True)


def folder_of(folder: str, row: Row) -> str:
    """Where the pictures of a clip are, below the folder of the run."""
    return f"{folder}/{row['key'].removesuffix('.mp4')}"


def new_folder(path: Path, stack: contextlib.ExitStack) -> Path:
    """A folder that appears at `path`, complete, when the stack is closed; an earlier one is removed at once."""
    shutil.rmtree(path, ignore_errors=True)
    return stack.enter_context(output_folder(path))


def _written(frames: Iterable[np.ndarray], folder: Path) -> Iterator[np.ndarray]:
    """The frames, each of which is written as a picture when it is taken."""
    for index, frame in enumerate(frames):
        write_image(folder / frame_name(index), frame)
        yield frame


@functools.cache
def _opened(estimator: str) -> Estimator:
    """The estimator, on one thread: the processes of a run share the processors."""
    return open_estimator(estimator, threads=1)


class _Counting:
    """An `Estimator` that counts frames, and those in which it found somebody."""

    def __init__(self, estimator: Estimator) -> None:
        self._estimator, self.name = estimator, estimator.name
        self.frames = self.found = 0

    def __call__(self, frames: Iterable[np.ndarray]) -> Iterator[Pose]:
        for pose in self._estimator(frames):
            self.frames += 1
            self.found += len(pose) > 0
            yield pose
