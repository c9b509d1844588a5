"""Looks through EasyAnimate's training clips before hours are spent on them."""

import collections
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from ppdiffusers_ext.data import meta_files
from ppdiffusers_ext.data.check_sheet import to_cell, write_rows
from ppdiffusers_ext.data.dataset_check import DatasetCheck, check_each
from ppdiffusers_ext.data.easy_animate.buckets import SHAPES, nearest_ratio
from ppdiffusers_ext.data.easy_animate.clips import CaptionedClip, name_some, read_captioned_clips
from ppdiffusers_ext.data.easy_animate.sizes import measure_clip
from ppdiffusers_ext.data.images import read_image, with_caption
from ppdiffusers_ext.data.random_access import FrameReader
from ppdiffusers_ext.errors import InputError, counted, printable

_SHAPE = 0.02  # by which shapes may differ
_LONG_CAPTION = 1000  # characters, of which some 250 tokens can be made
_ON_SHEET = 40  # characters of a caption


@dataclass(frozen=True)
class CaptionedReport:
    """What was found of a clip, with its size if that can be read: `problems` is empty for one to train on."""

    clip: CaptionedClip
    problems: tuple[str, ...] = field(default=())


def check_captioned_clips(
    metas: Iterable[str | os.PathLike],
    root: str | os.PathLike | None = None,
    min_frames: int = 10,
    on_report: Callable[[CaptionedReport], object] | None = None,
) -> list[CaptionedReport]:
    """Check every clip of meta files: a list of `CaptionedReport`s, in their order.

    Pictures are read, and of each video the frame in the middle.

    Args:
        metas: as `find_captioned_clips` takes one.
        root: as there.
        min_frames: that a video needs.
        on_report: called with each report as soon as it is there.

    Raises:
        MissingFileError, InputError: a meta file is missing or wrong.
    """
    clips = [clip for meta in metas for clip in read_captioned_clips(meta, root)]
    return check_each(clips, lambda clip: check_captioned_clip(clip, min_frames), on_report)


def check_captioned_clip(clip: CaptionedClip, min_frames: int = 10) -> CaptionedReport:
    """The `CaptionedReport` of a clip."""
    if not meta_files.can_be_listed(clip.path.resolve()):
        return CaptionedReport(clip, (meta_files.NOT_LISTED,))
    try:
        measured = measure_clip(clip)
        _middle(measured)
    except (InputError, OSError) as error:
        return CaptionedReport(clip, (str(error),))
    return CaptionedReport(measured, tuple(_problems_of(clip, measured, min_frames)))


def _problems_of(clip: CaptionedClip, measured: CaptionedClip, min_frames: int) -> Iterable[str]:
    if measured.num_frames is not None and measured.num_frames < min_frames:
        yield f"it has {counted(measured.num_frames, 'frame')}, a sample needs {min_frames}"
    if clip.width and clip.height and measured.width and measured.height:
        shapes = [each.width / each.height for each in (clip, measured)]  # type: ignore[operator]  # both are known
        if abs(shapes[0] / shapes[1] - 1) > _SHAPE:
            size = f"{measured.width}x{measured.height}"
            yield f"it has {size} pixels, and {clip.width}x{clip.height} in the meta file"


def _middle(clip: CaptionedClip) -> np.ndarray:
    """The picture, or the frame in the middle of a video: (H, W, 3) uint8."""
    if not clip.is_video:
        return np.asarray(read_image(clip.path))
    reader = FrameReader(clip.path)
    return reader.read([len(reader) // 2])[0]


def write_captioned_meta(path: str | os.PathLike, reports: Sequence[CaptionedReport]) -> int:
    """Write a meta file of the clips without problems, with absolute paths and sizes. Returns how many they are.

    Raises:
        InputError: there are none, or the file cannot be written.
    """
    good = [report.clip for report in reports if not report.problems]
    if not good:
        raise InputError(f"none of {len(reports)} clips can be trained on; {path} is not written")
    rows = [
        {
            "file_path": str(clip.path.resolve()),
            "text": clip.text,
            "type": "video" if clip.is_video else "image",
            "width": clip.width,
            "height": clip.height,
        }
        for clip in good
    ]
    meta_files.write_rows(path, rows)
    return len(good)


def write_captioned_sheet(path: str | os.PathLike, reports: Sequence[CaptionedReport]) -> None:
    """Write a picture with a frame of each clip without problems above the beginning of its caption."""

    def show(report: CaptionedReport) -> list[np.ndarray]:
        cell = Image.fromarray(to_cell(_middle(report.clip)))
        text = " ".join(printable(report.clip.text, _ON_SHEET).split())
        text = text if text.isascii() else report.clip.path.name  # the font has no Chinese
        return [np.asarray(with_caption(cell, text or "(no caption)"))]

    write_rows(path, reports, show)


def _describe(report: CaptionedReport) -> str:
    clip = report.clip
    frames = counted(clip.num_frames, "frame") if clip.num_frames is not None else "a picture"
    return f"{clip.width}x{clip.height}, {frames}, caption of {counted(len(clip.text), 'character')}"


def _amount(reports: Sequence[CaptionedReport]) -> str:
    videos = [report.clip.num_frames or 0 for report in reports if report.clip.is_video]
    pictures = counted(len(reports) - len(videos), "picture")
    return f"{counted(len(videos), 'video')} of {counted(sum(videos), 'frame')} and {pictures}"


def _notes(reports: Sequence[CaptionedReport]) -> list[str]:
    """What the clips are to training: captions that teach little, and the shapes of batches."""
    clips, notes = [report.clip for report in reports], []
    empty = [clip.path for clip in clips if not clip.text.strip()]
    if empty:
        notes.append(f"captions without any text: {len(empty)}, of {name_some(empty)}")
    long = [clip.path for clip in clips if len(clip.text) > _LONG_CAPTION]
    if long:
        notes.append(
            f"captions of more than {counted(_LONG_CAPTION, 'character')}, of which the text encoders see the "
            f"beginning: {len(long)}, of {name_some(long)}"
        )
    found = collections.Counter((_ratio(clip), clip.is_video) for clip in clips)
    for ratio in sorted({ratio for ratio, _ in found}):
        height, width = SHAPES[ratio]
        amounts = counted(found[ratio, True], "video"), counted(found[ratio, False], "picture")
        notes.append(f"bucket   {width}x{height} at 512: {' and '.join(amounts)}")
    return notes


def _ratio(clip: CaptionedClip) -> float:
    assert clip.width and clip.height  # of a clip without problems
    return nearest_ratio(clip.height, clip.width)


def _files(metas: Sequence[str | os.PathLike], root: str | None) -> list[Path]:
    return [*map(Path, metas), *(clip.path for meta in metas for clip in read_captioned_clips(meta, root))]


CHECK = DatasetCheck(
    files=_files,
    check=check_captioned_clips,
    min_frames=10,
    name_of=lambda report: report.clip.path,
    describe=_describe,
    amount=_amount,
    notes=_notes,
    listing="meta",
    write_list=write_captioned_meta,
    root_option="data_dir",
    write_sheet=write_captioned_sheet,
)
