"""Looks through training data before hours are spent on them: a report, a cleaned meta file and a contact sheet."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppdiffusers_ext.data import meta_files
from ppdiffusers_ext.data.animate_anyone.clips import ClipReport, check_clip, find_clips
from ppdiffusers_ext.data.check_sheet import to_cell, write_rows
from ppdiffusers_ext.data.dataset_check import DatasetCheck, check_each
from ppdiffusers_ext.data.video import read_frames
from ppdiffusers_ext.errors import InputError, counted

if TYPE_CHECKING:
    import numpy as np

    from ppdiffusers_ext.data.animate_anyone.clips import ClipFiles


def check_dataset(
    sources: Any,
    min_frames: int = 2,
    on_report: Callable[[ClipReport], object] | None = None,
) -> list[ClipReport]:
    """Check every clip of the sources of `find_clips`: a list of `ClipReport`s, in their order.

    Frames are decoded here, one in the middle of each video, so that a file that only looks right is found as well.

    Args:
        min_frames: frames that a sample needs.
        on_report: called with each report as soon as it is there.

    Raises:
        MissingFileError, InputError: as `find_clips`.
    """
    return check_each(find_clips(sources), lambda files: _check(files, min_frames), on_report)


def write_meta(path: str | os.PathLike, reports: Sequence[ClipReport]) -> int:
    """Write a meta file of the clips without problems, with absolute paths. Returns how many they are.

    Raises:
        InputError: there are none, or the file cannot be written.
    """
    good = [report.files for report in reports if not report.problems]
    if not good:
        raise InputError(f"none of {len(reports)} clips can be trained on; {path} is not written")
    rows = [{"video_path": str(files.video.resolve()), "kps_path": str(files.pose.resolve())} for files in good]
    meta_files.write_rows(path, rows)
    return len(good)


def write_sheet(path: str | os.PathLike, reports: Sequence[ClipReport]) -> None:
    """Write a picture with a frame of each clip without problems beside its pose; of many, evenly chosen ones."""
    write_rows(path, reports, lambda report: [_middle(report, file) for file in _paths(report)])


def _paths(report: ClipReport) -> tuple[Path, Path]:
    return report.files.video, report.files.pose


def _check(files: ClipFiles, min_frames: int) -> ClipReport:
    report = check_clip(files, min_frames)
    if not all(meta_files.can_be_listed(path.resolve()) for path in (files.video, files.pose)):
        return type(report)(files, problems=(meta_files.NOT_LISTED,))
    if report.problems:
        return report
    try:
        for path in _paths(report):
            _middle(report, path)
    except InputError as error:
        return type(report)(files, problems=(str(error),))
    return report


def _middle(report: ClipReport, path: Path) -> np.ndarray:
    """The frame in the middle of a video, as high as those of the sheet."""
    background = "black" if path == report.files.pose else "white"
    (frame,) = read_frames(path, start=report.num_frames // 2, count=1, background=background)  # type: ignore[operator]  # known of a clip without problems
    return to_cell(frame)


def _describe(report: ClipReport) -> str:
    frames = counted(report.num_frames or 0, "frame")
    return f"{report.width}x{report.height}, {frames}, {report.fps:.2f} a second"


CHECK = DatasetCheck(
    files=lambda sources, root: [path for clip in find_clips(sources) for path in (clip.video, clip.pose)],
    check=lambda sources, root, min_frames, on_report: check_dataset(sources, min_frames, on_report),
    min_frames=2,
    name_of=lambda report: report.files.video,
    describe=_describe,
    amount=lambda reports: f"{sum(report.duration or 0 for report in reports) / 60:.1f} minutes",
    listing="meta",
    write_list=write_meta,
    write_sheet=write_sheet,
)
