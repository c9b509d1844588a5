"""Skeletons of whole videos and folders of pictures, from files to files.

The three functions follow the originals: `write_skeleton_video` is Moore-AnimateAnyone's `tools/vid2pose.py`,
`write_aligned_skeletons` StableAnimator's `DWPose/skeleton_extraction.py`, `write_training_skeletons` its
`training_skeleton_extraction.py`. Frames are streamed a few at a time.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Collection, Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from ppdiffusers_ext.data.frames import VIDEOS, frame_name, open_frames
from ppdiffusers_ext.data.images import write_image
from ppdiffusers_ext.data.outputs import check_outputs
from ppdiffusers_ext.data.video_writer import SUFFIXES, VideoWriter
from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.preprocess.alignment import fit, fit_original
from ppdiffusers_ext.preprocess.extraction import draw, shrink, small_size, track
from ppdiffusers_ext.preprocess.tracks import choose_person

if TYPE_CHECKING:
    from ppdiffusers_ext.data.frames import FrameSource
    from ppdiffusers_ext.preprocess.alignment import Alignment
    from ppdiffusers_ext.preprocess.estimators import Estimator
    from ppdiffusers_ext.preprocess.extraction import TrackOptions
    from ppdiffusers_ext.preprocess.skeletons import Pose, Style


_CRF = 8  # of skeletons: thin lines on black, which cost little


def _every(frames: Iterable, count: int) -> Iterable:
    return frames


def write_skeleton_video(
    video: str | os.PathLike,
    target: str | os.PathLike,
    estimator: Estimator,
    style: Style,
    options: TrackOptions,
    progress: Callable[[Iterable, int], Iterable] = _every,
) -> None:
    """Write the skeletons of one person in a video as a video with a shorter side of 512 pixels.

    Args:
        video: file or folder of pictures.
        target: an MP4 file.
        estimator: an `Estimator`.
        style: a `Style`.
        options: `TrackOptions`.
        progress: function of `(frames, count)` that returns an iterable of the frames, such as tqdm.

    Raises:
        InputError, MissingFileError: what cannot be read or written.
    """
    source = open_frames(video)
    check_outputs([target], [video])
    width, height = small_size(source.width, source.height)
    frames = progress(source.resampled(source.fps), source.resampled_count(source.fps))
    poses = track(estimator(shrink(frames)), source.fps, options)
    with VideoWriter(target, source.fps, width, height, crf=_CRF) as writer:
        for frame in draw(poses, width, height, style):
            writer.write(frame)


def write_aligned_skeletons(
    source: FrameSource,
    picture: FrameSource,
    target: str | os.PathLike,
    estimator: Estimator,
    style: Style,
    way: str = "shape",
    options: TrackOptions | None = None,
    progress: Callable[[Iterable, int], Iterable] = _every,
    bounds: tuple[int, int | None] = (0, None),
    fps: float | Fraction | None = None,
    wanted: Collection[Path] | None = None,
) -> tuple[Alignment | None, list[Pose]]:
    """Write the skeletons of a driving video or folder, aligned with the person in a picture, at the picture's size.

    Args:
        source: of the video file or the folder of pictures.
        picture: of the file of the picture.
        target: an MP4 file, or a folder for frame_0.png, frame_1.png and so on.
        estimator, style: an `Estimator`, a `Style`.
        way: of alignment: "shape" keeps the figure's shape, "original" is StableAnimator's, "none" moves nothing.
        options: `TrackOptions`; if left out, all people of each frame as they were detected.
        progress: see `write_skeleton_video`.
        bounds: the first frame, and the one after the last (None for all).
        fps: frames per second of the result; the source's if left out.
        wanted: files of the folder that are to be written, as `aligned_outputs` gives them; all if left out.

    Returns:
        The `Alignment`, None for the way "none"; and the `Pose` of each frame before it.

    Raises:
        InputError, MissingFileError: what cannot be read or written, or aligned.
    """
    inputs = [each.path / name for each in (source, picture) for name in each.names or ("",)]
    check_outputs([target if is_video(target) else Path(target) / frame_name(0)], inputs)
    (of_picture,) = estimator(picture.read(0, 1))
    fps = fps or source.fps
    found = estimator(progress(source.resampled(fps, *bounds), source.resampled_count(fps, *bounds)))
    if options is not None:
        of_picture = choose_person(of_picture)  # the picture's is the largest, whoever drives it
        found = track(found, fps, options)
    poses = list(found)
    alignment = _align(way, of_picture, poses, picture, source)
    drawn = draw(map(alignment, poses) if alignment else poses, picture.width, picture.height, style)
    if is_video(target):
        with VideoWriter(target, fps, picture.width, picture.height, crf=_CRF) as writer:
            for frame in drawn:
                writer.write(frame)
    else:
        for i, frame in enumerate(drawn):
            path = Path(target) / frame_name(i)
            if wanted is None or path in wanted:
                write_image(path, frame)
    return alignment, poses


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
    """All videos below a folder, sorted.

    Raises:
        MissingFileError, InputError: no such folder, or none in it.
    """
    root = Path(root)
    if not root.is_dir():
        raise MissingFileError(f"{root} is not a folder; a folder of videos ({', '.join(VIDEOS)}) is accepted")
    found = sorted(path for path in root.rglob("*") if path.suffix.lower() in VIDEOS and path.is_file())
    if not found:
        raise InputError(f"{root} has no videos; a folder of {', '.join(VIDEOS)} files is accepted")
    return found


def is_video(target: str | os.PathLike) -> bool:
    """Whether skeletons go into a video of this name, rather than into a folder."""
    return Path(target).suffix.lower() in SUFFIXES
