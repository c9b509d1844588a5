"""Training clips: videos of people, each with the video of its poses, found in folders and meta files and checked.

A meta file is the original's, a JSON list of {"video_path": ..., "kps_path": ...}, or has the same as JSON lines or
CSV. A folder either has such files in `meta_data` (the `ubcNbili_data` layout), or folders `video/` and
`video_dwpose/` with files of the same names. It may have `keypoints/` too, with the joints of the person as numbers:
NAME.npy, (frames, 18, 3), x and y in parts of the picture and a score, 0 for what is not seen.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ppdiffusers_ext.data.keypoints import read_keypoints
from ppdiffusers_ext.data.meta_files import ENDINGS, find_path, read_rows
from ppdiffusers_ext.data.video import probe_video
from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.files import check_name

VIDEO_FOLDER, POSE_FOLDER, META_FOLDER = "video", "video_dwpose", "meta_data"
KEYPOINT_FOLDER = "keypoints"
_ENDINGS = (".mp4", ".mov", ".mkv", ".webm")
# Share by which shapes may differ: skeletons have a shorter side of 512 pixels and a longer one that is rounded to 64,
# so that those of 640x480 have 704x512. Samples are taken from both at the same place, which evens it out.
_ROUNDING = 32 / 512
_ACCEPTED = (
    f"a meta file (a JSON list of video_path and kps_path, or these as JSON lines or CSV), or a folder with "
    f"{META_FOLDER}/*.json or with {VIDEO_FOLDER}/ and {POSE_FOLDER}/ is accepted"
)
# What meta files of other projects call the two.
_FIELDS = {
    "video": ("video_path", "video", "file_path", "video_file", "path", "file"),
    "pose": ("kps_path", "pose_path", "dwpose_path", "kps", "pose", "dwpose", "pose_video", "kps_video"),
}


@dataclass(frozen=True)
class ClipFiles:
    """A video, the video of its poses, which need not exist, and the file of its joints, if it has one."""

    video: Path
    pose: Path
    keypoints: Path | None = None


@dataclass(frozen=True)
class ClipReport:
    """What `check_clip` found: `problems` is empty for a clip that can be trained on.

    num_frames, width, height, fps, duration (seconds): of the video; None where it cannot be read.
    """

    files: ClipFiles
    num_frames: int | None = None
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    duration: float | None = None
    problems: tuple = field(default=())


def find_clips(sources: Any) -> list[ClipFiles]:
    """All clips of meta files and folders, in their order: a list of `ClipFiles`, each once.

    Args:
        sources: one path, several with commas between them, or a list of paths.

    Raises:
        MissingFileError, InputError: a source does not exist, is neither, or holds no clips.
    """
    if isinstance(sources, (str, Path)) and not os.path.exists(sources):
        sources = [source.strip() for source in str(sources).split(",") if source.strip()]
    elif isinstance(sources, (str, Path)):
        sources = [sources]
    if not sources:
        raise InputError(f"no training data are named; {_ACCEPTED}")
    clips = {}
    for source in sources:
        source = check_name(source, "training data", _ACCEPTED)
        if not os.path.exists(source):
            raise MissingFileError(f"training data {source} do not exist; {_ACCEPTED}")
        found = _in_folder(source) if source.is_dir() else _in_meta_file(source)
        if not found:
            raise InputError(f"training data {source} hold no clips; {_ACCEPTED}")
        clips.update(dict.fromkeys(found))
    return list(clips)


def check_clip(files: ClipFiles, min_frames: int = 2) -> ClipReport:
    """Probe both videos of a clip: a `ClipReport`. Frames are not decoded.

    Args:
        files: `ClipFiles`.
        min_frames: frames that a sample needs.
    """
    try:
        video = probe_video(files.video)
    except InputError as error:
        return ClipReport(files, problems=(str(error),))
    problems = []
    if video.num_frames < min_frames:
        problems.append(f"it has {video.num_frames} frames, a sample needs {min_frames}")
    try:
        pose = probe_video(files.pose)
    except MissingFileError:
        problems.append(f"there is no pose video {files.pose}")
    except InputError as error:
        problems.append(str(error))
    else:
        if pose.num_frames != video.num_frames:
            problems.append(f"the pose video has {pose.num_frames} frames, the video {video.num_frames}")
        if abs(pose.fps / video.fps - 1) > 0.01:
            problems.append(
                f"the pose video has {float(pose.fps):.2f} frames a second, the video {float(video.fps):.2f}"
            )
        if abs(pose.width * video.height / (pose.height * video.width) - 1) > _ROUNDING:
            shapes = f"{pose.width}x{pose.height}, the video {video.width}x{video.height}"
            problems.append(f"the pose video is of another shape: {shapes}")
    if files.keypoints is not None:
        try:
            read_keypoints(files.keypoints, video.num_frames)
        except InputError as error:
            problems.append(str(error))
    return ClipReport(
        files, video.num_frames, video.width, video.height, float(video.fps), video.duration, tuple(problems)
    )


def _in_folder(folder: Path) -> list[ClipFiles]:
    metas = _listed((folder / META_FOLDER).glob("*"), ENDINGS)
    if metas:
        return [clip for meta in metas for clip in _in_meta_file(meta)]
    videos = folder / VIDEO_FOLDER
    found = _listed(videos.rglob("*"), _ENDINGS) if videos.is_dir() else []
    return [_of_video(folder, path.relative_to(videos)) for path in found]


def _of_video(folder: Path, name: Path) -> ClipFiles:
    keypoints = folder / KEYPOINT_FOLDER / name.with_suffix(".npy")
    return ClipFiles(
        folder / VIDEO_FOLDER / name, folder / POSE_FOLDER / name, keypoints if keypoints.exists() else None
    )


def _listed(paths: Iterable[Path], endings: Sequence[str]) -> list[Path]:
    """Those with one of the endings, sorted; not hidden ones, which runs that were killed leave behind."""
    return sorted(path for path in paths if path.suffix.lower() in endings and not path.name.startswith("."))


def _in_meta_file(path: Path) -> list[ClipFiles]:
    # A name is relative to the working folder, or to the file's folder or one of the two above it.
    folders = [Path(), *list(path.resolve().parents)[:3]]
    rows = read_rows(path, _FIELDS, "meta file", _ACCEPTED)
    return [ClipFiles(*(find_path(row[field], folders) for field in _FIELDS)) for row in rows]
