"""Looks through StableAnimator's training clips before hours are spent on them."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ppdiffusers_ext.data.check_sheet import to_cell, write_rows
from ppdiffusers_ext.data.dataset_check import DatasetCheck, check_each
from ppdiffusers_ext.data.keypoints import read_keypoints
from ppdiffusers_ext.data.meta_files import NOT_LISTED, can_be_listed
from ppdiffusers_ext.data.outputs import output_file
from ppdiffusers_ext.data.stable_animator.clips import AnimationClip, Frames, clip_folders, find_clip, read_embedding
from ppdiffusers_ext.errors import InputError, counted

_SHAPE = 0.02  # by which shapes may differ


@dataclass(frozen=True)
class AnimationReport:
    """What was found of a clip: `problems` is empty for one that can be trained on.

    Attributes:
        folder: of the clip.
        clip: `AnimationClip`, None where images or poses are missing.
        num_frames, width, height: of the images; None where they cannot be read.
        num_masks: frames that have a mask of faces; the others count as all face.
    """

    folder: Path
    clip: AnimationClip | None = None
    num_frames: int | None = None
    width: int | None = None
    height: int | None = None
    num_masks: int = 0
    problems: tuple = field(default=())


def check_animation_clips(
    path_lists: Iterable[str | os.PathLike],
    root: str | os.PathLike | None = None,
    min_frames: int = 17,
    on_report: Callable[[AnimationReport], object] | None = None,
) -> list[AnimationReport]:
    """Check every clip of path lists: a list of `AnimationReport`s, in their order.

    Of each clip the frame in the middle is read, with its skeleton and its mask.

    Args:
        path_lists: as `find_animation_clips` takes one.
        root: as there.
        min_frames: that a sample needs, its reference among them.
        on_report: called with each report as soon as it is there.

    Raises:
        MissingFileError, InputError: there is no such list, or it cannot be read.
    """
    folders = dict.fromkeys(folder for path_list in path_lists for folder in clip_folders(path_list, root))
    return check_each(folders, lambda folder: check_animation_clip(folder, min_frames), on_report)


def check_animation_clip(folder: Path, min_frames: int = 17) -> AnimationReport:
    """The `AnimationReport` of a folder."""
    if not can_be_listed(folder.resolve()):
        return AnimationReport(folder, problems=(NOT_LISTED,))
    clip = find_clip(folder)
    if clip is None:
        return AnimationReport(folder, problems=("it has no images or no poses (folders of pictures, or videos)",))
    try:
        return _check(folder, clip, min_frames)
    except (InputError, OSError) as error:
        return AnimationReport(folder, clip, problems=(str(error),))


def _check(folder: Path, clip: AnimationClip, min_frames: int) -> AnimationReport:
    images, poses, problems = Frames(clip.images), Frames(clip.poses, "black"), []
    if len(images) < min_frames:
        problems.append(f"it has {len(images)} frames, a sample needs {min_frames}")
    if images.names is not None and poses.names is not None:
        missing = [name for name in images.names if name not in set(poses.names)]
        if missing:
            problems.append(f"{len(missing)} frames have no skeleton, such as {missing[0]}")
    elif len(images) != len(poses):
        problems.append(f"{clip.poses.name} has {len(poses)} frames, {clip.images.name} {len(images)}")
    picture, skeleton, _ = _middle(clip)
    if skeleton is not None:
        shapes = [frame.width / frame.height for frame in (picture, skeleton)]
        if abs(shapes[0] / shapes[1] - 1) > _SHAPE:
            problems.append(
                f"the skeletons are of another shape: {skeleton.width}x{skeleton.height}, the images "
                f"{picture.width}x{picture.height}"
            )
    if clip.embedding is not None:
        read_embedding(clip.embedding)
    if clip.keypoints is not None:
        read_keypoints(clip.keypoints, len(images))
    masks = _count_masks(clip, images)
    return AnimationReport(folder, clip, len(images), picture.width, picture.height, masks, tuple(problems))


def _count_masks(clip: AnimationClip, images: Frames) -> int:
    if clip.faces is None:
        return 0
    masks = Frames(clip.faces, "black")
    if images.names is None or masks.names is None:
        return min(len(masks), len(images))
    return len(set(masks.names) & set(images.names))


def _middle(clip: AnimationClip) -> list[Any]:
    """The picture in the middle of a clip, its skeleton and its mask: PIL pictures, None for what is missing."""
    images = Frames(clip.images)
    found: list = []
    middle = len(images) // 2
    for path, background in ((clip.images, "white"), (clip.poses, "black"), (clip.faces, "black")):
        found += Frames(path, background).read([middle], images.names) if path is not None else [None]
    return found


def write_list(path: str | os.PathLike, reports: Sequence[AnimationReport]) -> int:
    """Write a path list of the clips without problems, with absolute paths. Returns how many they are.

    Raises:
        InputError: there are none, or the file cannot be written.
    """
    good = [report.folder for report in reports if not report.problems]
    if not good:
        raise InputError(f"none of {len(reports)} clips can be trained on; {path} is not written")
    with output_file(path) as temporary:
        Path(temporary).write_text("".join(f"{folder.resolve()}\n" for folder in good), encoding="utf-8")
    return len(good)


def write_animation_sheet(path: str | os.PathLike, reports: Sequence[AnimationReport]) -> None:
    """Write a picture with a frame of each clip without problems beside its skeleton and its mask."""

    def show(report: AnimationReport) -> list[np.ndarray]:
        frames = _middle(report.clip)  # type: ignore[arg-type]  # found, as there are no problems
        white = np.full_like(np.asarray(frames[0].convert("RGB")), 255)
        return [to_cell(white if frame is None else np.asarray(frame.convert("RGB"))) for frame in frames]

    write_rows(path, reports, show)


def _files(path_lists: Iterable[str | os.PathLike], root: str | None) -> list[Path]:
    folders = [folder for path_list in path_lists for folder in clip_folders(path_list, root)]
    places = [folder / part for folder in folders for part in (".", "images", "poses", "faces")]
    return [path for place in places for path in sorted(place.glob("*"))]


def _describe(report: AnimationReport) -> str:
    masks = counted(report.num_masks, "mask") if report.num_masks else "no masks"
    return f"{report.width}x{report.height}, {counted(report.num_frames or 0, 'frame')}, {masks}"


CHECK = DatasetCheck(
    files=_files,
    check=check_animation_clips,
    min_frames=17,
    name_of=lambda report: report.folder,
    describe=_describe,
    amount=lambda reports: counted(sum(report.num_frames or 0 for report in reports), "frame"),
    listing="list",
    write_list=write_list,
    root_option="data_root_path",
    write_sheet=write_animation_sheet,
)
