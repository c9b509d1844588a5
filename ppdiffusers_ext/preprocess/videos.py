"""Skeletons of whole videos and folders of pictures, from files to files.

The three functions follow the originals: `write_skeleton_video` is Moore-AnimateAnyone's `tools/vid2pose.py`,
`write_aligned_skeletons` StableAnimator's `DWPose/skeleton_extraction.py`, `write_training_skeletons` its
`training_skeleton_extraction.py`. Frames are streamed a few at a time.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from ppdiffusers_ext.data.frames import VIDEOS, frame_name, open_frames
from ppdiffusers_ext.data.images import write_image
from ppdiffusers_ext.data.outputs import check_outputs
from ppdiffusers_ext.data.video_writer import SUFFIXES, VideoWriter
from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.files import suffix_of
from ppdiffusers_ext.preprocess import completion
from ppdiffusers_ext.preprocess.alignment import fit, fit_original
from ppdiffusers_ext.preprocess.extraction import draw, shrink, small_size, track
from ppdiffusers_ext.preprocess.pose_file import as_drawn, pose_file
from ppdiffusers_ext.preprocess.tracks import choose_person

if TYPE_CHECKING:
    import numpy as np

    from ppdiffusers_ext.data.frames import FrameSource
    from ppdiffusers_ext.data.skeletons import Pose, Style
    from ppdiffusers_ext.preprocess.alignment import Alignment
    from ppdiffusers_ext.preprocess.estimators import Estimator
    from ppdiffusers_ext.preprocess.extraction import TrackOptions


_CRF = 8  # of skeletons: thin lines on black, which cost little


@dataclass(frozen=True)
class FoundPoses:
    """The `Pose` of a picture and that of each frame of a driving video."""

    picture: Pose
    driving: list[Pose]


@dataclass(frozen=True)
class AlignedPoses:
    """Poses of a driving video before and after they were aligned with a picture.

    Attributes:
        alignment: the `Alignment`, None for the way "none".
        driving: the `Pose` of each frame as it was found.
        drawn: the `Pose` of each frame in the picture, completed by the picture's own pose.
        from_picture: names of the joints that were taken from it; see `completion.complete`.
    """

    alignment: Alignment | None
    driving: list[Pose]
    drawn: list[Pose]
    from_picture: tuple[str, ...] = ()


def _every(frames: Iterable, count: int) -> Iterable:
    return frames


def write_skeleton_video(
    video: str | os.PathLike,
    target: str | os.PathLike | None,
    estimator: Estimator,
    style: Style,
    options: TrackOptions,
    progress: Callable[[Iterable, int], Iterable] = _every,
    poses_target: str | os.PathLike | None = None,
) -> None:
    """Write the skeletons of one person in a video as a video with a shorter side of 512 pixels.

    Args:
        video: file or folder of pictures.
        target: an MP4 file; None writes only the poses.
        estimator: an `Estimator`.
        style: a `Style`.
        options: `TrackOptions`.
        progress: function of `(frames, count)` that returns an iterable of the frames, such as tqdm.
        poses_target: file for the poses as JSON, in pixels of the drawing; None for none.

    Raises:
        InputError, MissingFileError: what cannot be read or written.
    """
    source = open_frames(video)
    check_outputs([path for path in (target, poses_target) if path is not None], [video])
    width, height = small_size(source.width, source.height)
    frames = progress(source.resampled(source.fps), source.resampled_count(source.fps))
    poses = track(estimator(shrink(frames)), source.fps, options)
    with _written(poses, poses_target, estimator, style, (width, height)) as taken:
        if target is None:
            collections.deque(taken, maxlen=0)
        else:
            _write_video(target, draw(taken, width, height, style), source.fps, width, height)


@contextlib.contextmanager
def _written(
    poses: Iterable[Pose],
    target: str | os.PathLike | None,
    estimator: Estimator,
    style: Style,
    size: tuple[int, int],
) -> Iterator[Iterable[Pose]]:
    """Yields the poses, each of which is written into a file, if there is to be one, when it is taken."""
    if target is None:
        yield poses
        return
    with pose_file(target, estimator.name, size) as file:

        def write(pose: Pose) -> Pose:
            file.write(as_drawn(pose, style))
            return pose

        yield map(write, poses)


def _write_video(
    target: str | os.PathLike, frames: Iterable[np.ndarray], fps: float | Fraction, width: int, height: int
) -> None:
    with VideoWriter(target, fps, width, height, crf=_CRF) as writer:
        for frame in frames:
            writer.write(frame)


def find_poses(
    source: FrameSource,
    picture: FrameSource,
    estimator: Estimator,
    options: TrackOptions | None = None,
    progress: Callable[[Iterable, int], Iterable] = _every,
    bounds: tuple[int, int | None] = (0, None),
    fps: float | Fraction | None = None,
) -> FoundPoses:
    """Estimate the poses of a picture and of a driving video or folder.

    Args:
        source: of the video file or the folder of pictures.
        picture: of the file of the picture.
        estimator: an `Estimator`.
        options: `TrackOptions`; if left out, all people of each frame as they were detected.
        progress: see `write_skeleton_video`.
        bounds: the first frame, and the one after the last (None for all).
        fps: frames per second of the result; the source's if left out.

    Raises:
        InputError, MissingFileError: what cannot be read.
    """
    (of_picture,) = estimator(picture.read(0, 1))
    fps = fps or source.fps
    found = estimator(progress(source.resampled(fps, *bounds), source.resampled_count(fps, *bounds)))
    return follow(of_picture, found, fps, options)


def follow(
    of_picture: Pose, found: Iterable[Pose], fps: float | Fraction, options: TrackOptions | None = None
) -> FoundPoses:
    """The poses of a picture and a video, each of all people -> of the one who is followed; of all without options."""
    if options is not None:
        of_picture = choose_person(of_picture)  # the picture's is the largest, whoever drives it
        found = track(found, fps, options)
    return FoundPoses(of_picture, list(found))


def place(
    found: FoundPoses, source: FrameSource, picture: FrameSource, way: str = "shape", unseen: str = completion.NONE
) -> AlignedPoses:
    """The poses of a driving video, aligned with the person in a picture and completed by the picture's own pose.

    The arguments are those of `write_aligned_skeletons`. Raises InputError for poses that cannot be aligned.
    """
    alignment = _align(way, found.picture, found.driving, picture, source)
    placed = [alignment(pose) for pose in found.driving] if alignment else found.driving
    from_picture: tuple[str, ...] = ()
    if unseen == completion.PICTURE:
        placed, from_picture = completion.complete(found.picture, placed, (picture.height, picture.width))
    return AlignedPoses(alignment, found.driving, placed, from_picture)


def write_aligned_skeletons(
    found: FoundPoses,
    source: FrameSource,
    picture: FrameSource,
    target: str | os.PathLike,
    style: Style,
    way: str = "shape",
    fps: float | Fraction | None = None,
    wanted: Collection[Path] | None = None,
    unseen: str = completion.NONE,
) -> AlignedPoses:
    """Write the skeletons of a driving video or folder, aligned with the person in a picture, at the picture's size.

    Args:
        found: of `find_poses`.
        source, picture: of which they are.
        target: an MP4 file, or a folder for frame_0.png, frame_1.png and so on.
        style: a `Style`.
        way: of alignment: "shape" keeps the figure's shape, "original" is StableAnimator's, "none" moves nothing.
        fps: frames per second of the result; the source's if left out.
        wanted: files of the folder that are to be written, as `aligned_outputs` gives them; all if left out.
        unseen: "picture" takes joints that the video does not show from the picture, for poses of one person.

    Returns:
        The `AlignedPoses`.

    Raises:
        InputError, MissingFileError: what cannot be read or written, or aligned.
    """
    inputs = [each.path / name for each in (source, picture) for name in each.names or ("",)]
    check_outputs([target if is_video(target) else Path(target) / frame_name(0)], inputs)
    aligned = place(found, source, picture, way, unseen)
    drawn = draw(aligned.drawn, picture.width, picture.height, style)
    if not is_video(target):
        for i, frame in enumerate(drawn):
            path = Path(target) / frame_name(i)
            if wanted is None or path in wanted:
                write_image(path, frame)
    elif wanted is None or Path(target) in wanted:
        _write_video(target, drawn, fps or source.fps, picture.width, picture.height)
    return aligned


def aligned_outputs(source: FrameSource, target: str | os.PathLike) -> list[Path]:
    """The files that `write_aligned_skeletons` makes of a driving video: one video, or a picture for each frame."""
    if is_video(target):
        return [Path(target)]
    return [Path(target) / frame_name(i) for i in range(source.resampled_count(source.fps))]


def _align(
    way: str, of_picture: Pose, poses: Sequence[Pose], picture: FrameSource, source: FrameSource
) -> Alignment | None:
    if way == "none":
        return None
    if way == "original":
        return fit_original(of_picture, poses)
    return fit(of_picture, poses, (picture.height, picture.width), (source.height, source.width))


def write_training_skeletons(
    source: FrameSource,
    target: str | os.PathLike,
    estimator: Estimator,
    style: Style,
    names: Collection[str],
    progress: Callable[[Iterable, int], Iterable] = _every,
) -> None:
    """Write the skeletons of all people in pictures of a folder, under the same names into another folder.

    Args:
        source: of the folder of pictures.
        names: those of the pictures whose skeletons are to be written.
    """
    missing, target = [i for i, name in enumerate(source.names) if name in names], Path(target)
    frames, numbers = itertools.tee(progress(missing, len(missing)))
    poses = estimator(frame for i in frames for frame in source.read(i, i + 1))
    for i, pose in zip(numbers, poses):
        (drawn,) = draw([pose], source.width, source.height, style)
        write_image(target / source.names[i], drawn)


def find_videos(root: str | os.PathLike) -> list[Path]:
    """All videos below a folder, sorted; not hidden ones, which runs that were killed leave behind.

    Raises:
        MissingFileError, InputError: no such folder, or none in it.
    """
    root = Path(root)
    if not root.is_dir():
        raise MissingFileError(f"{root} is not a folder; a folder of videos ({', '.join(VIDEOS)}) is accepted")
    shown = (path for path in root.rglob("*") if not path.name.startswith("."))
    found = sorted(path for path in shown if path.suffix.lower() in VIDEOS and path.is_file())
    if not found:
        raise InputError(f"{root} has no videos; a folder of {', '.join(VIDEOS)} files is accepted")
    return found


def is_video(target: str | os.PathLike) -> bool:
    """Whether skeletons go into a video of this name, rather than into a folder."""
    return suffix_of(target) in SUFFIXES
