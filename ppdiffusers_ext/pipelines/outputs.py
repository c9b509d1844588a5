"""Results of a run: the video, the same beside picture and poses, and a contact sheet."""

import contextlib
import itertools
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image

from ppdiffusers_ext.data.colour_drift import ColourAnchor
from ppdiffusers_ext.data.frames import FrameSource, resize
from ppdiffusers_ext.data.images import contact_sheet, read_image, side_by_side, with_caption, write_image
from ppdiffusers_ext.data.outputs import beside, report_paths
from ppdiffusers_ext.data.side_outputs import SideOutputs, SideVideo
from ppdiffusers_ext.data.video_writer import VideoWriter
from ppdiffusers_ext.errors import counted
from ppdiffusers_ext.metrics.result_report import Driver, summary
from ppdiffusers_ext.pipelines.reporting import ResultReport, timed
from ppdiffusers_ext.pipelines.together import keep_of_first
from ppdiffusers_ext.pipelines.watching import DECODING, told

if TYPE_CHECKING:
    import paddle

    from ppdiffusers_ext.data.audio import Audio


logger = logging.getLogger(__name__)

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif")


VIDEO_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".gif")


SHEET_FRAMES = 12


SHEET_COLUMNS = 4


@dataclass(frozen=True)
class Result:
    """The files that one case gave: `video` is a picture for a single pose picture, `report` None without one."""

    video: Path
    side_by_side: Path
    contact_sheet: Path
    num_frames: int
    report: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """Of all files; of a report also its JSON."""
        reports = report_paths(self.video) if self.report is not None else ()
        return self.video, self.side_by_side, self.contact_sheet, *reports


@dataclass(frozen=True)
class Case:
    """A picture and poses that were found to be readable.

    Attributes:
        image_path, pose_path: of the picture, and of a pose video or picture.
        num_frames, fps: of the result; `fps` is None for a pose picture.
        target: path of the result.
        image: the picture as it was read, or None: it is read again each time that it is needed.
        source: `FrameSource` of a pose video.
        has_report: whether there will be a report of the result.
        driver: the poses that the pose video shows, for that.
    """

    image_path: Path
    pose_path: Path
    num_frames: int
    fps: float | Fraction | None
    target: Path
    image: PIL.Image.Image | None = field(default=None, repr=False, compare=False)
    source: FrameSource | None = field(default=None, repr=False, compare=False)
    has_report: bool = False
    driver: Driver = field(default=Driver(), repr=False, compare=False)

    def picture(self) -> PIL.Image.Image:
        """The picture, a `PIL.Image`."""
        return read_image(self.image_path) if self.image is None else self.image

    def poses(self) -> Iterator[np.ndarray]:
        """An iterator over the pose frames, (H, W, 3) uint8 each."""
        if self.source is None:
            return iter([np.asarray(read_image(self.pose_path, "black"))])
        return itertools.islice(self.source.resampled(self.source.fps), self.num_frames)

    @property
    def result(self) -> Result:
        """The `Result` that there will be."""
        row = "side_by_side.png" if self.fps is None else "side_by_side.mp4"
        sheet, report = beside(self.target, "sheet.png"), report_paths(self.target)[0] if self.has_report else None
        return Result(self.target, beside(self.target, row), sheet, self.num_frames, report)


def animated_frames(path: str | os.PathLike, available: int, wanted: int | None = None) -> int:
    """How many frames of a pose video of `available` frames are animated: all, or `wanted` at most. Says if others."""
    if wanted is None:
        return available
    if wanted > available:
        has = counted(available, "frame")
        logger.warning("%s has %s, less than the %d asked for: the result has as many", path, has, wanted)
    elif wanted < available:
        logger.warning("%s of the %d of %s will be animated", counted(wanted, "frame"), available, path)
    return min(wanted, available)


def write_case(
    case: Case,
    decode: "Callable[[], Iterable[paddle.Tensor]]",
    width: int,
    height: int,
    audio: "Audio | None" = None,
    way: str = "stretch",
    color_correction_strength: float = 0.0,
    report: ResultReport | None = None,
) -> Result:
    """Write what a case has become: a `Result`.

    Args:
        case: a `Case`.
        decode: called for (n, 3, height, width) tensors in [0, 1], of which memory holds one at a time.
        width, height: pixels.
        audio: an `Audio` to put beside the frames.
        way: how picture and poses get the result's size; see `data.frames.resize`.
        color_correction_strength: how far frames are brought to the picture's colours; see `ColourAnchor`.
        report: of the result, which a case has that says so.

    Raises:
        InputError: something cannot be written; what can is kept, and said.
    """
    reference = resize(np.asarray(case.picture()), width, height, way)

    def write(target: Path) -> Result:
        anchor = ColourAnchor(color_correction_strength, reference)
        frames = told(anchor.correct_all(pixels_of(decode())), DECODING, case.num_frames)
        poses = (resize(pose, width, height, way) for pose in case.poses())
        result = replace(case, target=target).result
        if case.fps is None:
            _write_picture(result, next(frames), next(poses), reference, report)
        else:
            _write_video(result, case.fps, frames, poses, reference, audio, report)
        return result

    return keep_of_first(write, case.target, decode, case.result)


def to_uint8(video: np.ndarray) -> np.ndarray:
    """(3, frames, height, width) in [0, 1] -> (frames, height, width, 3) uint8."""
    return np.round(video.transpose(1, 2, 3, 0) * 255).clip(0, 255).astype(np.uint8)


def pixels_of(chunks: "Iterable[paddle.Tensor]") -> Iterator[np.ndarray]:
    """(n, 3, H, W) tensors in [0, 1] -> (H, W, 3) uint8 arrays, one by one."""
    for chunk in chunks:
        yield from (chunk.transpose([0, 2, 3, 1]) * 255).round().astype("uint8").numpy()


def _write_picture(
    result: Result, frame: np.ndarray, pose: np.ndarray, reference: np.ndarray, report: ResultReport | None
) -> None:
    sides = SideOutputs(result.video)
    write_image(result.video, frame)
    sides.attempt(write_image, result.side_by_side, side_by_side([reference, pose, frame]))
    write_sheet(sides, result, [frame], report, reference)
    sides.tell()


def write_sheet(
    sides: SideOutputs,
    result: Any,
    frames: list[np.ndarray],
    report: ResultReport | None,
    reference: np.ndarray | None,
    reference_name: str = "reference picture",
) -> None:
    """Write the contact sheet of a result that is complete and, where there is one, its report, in short below it too.

    Args:
        result: with the paths `video` and `contact_sheet`.
        frames: that the sheet shows, (H, W, 3) uint8.
        reference, reference_name: see `ResultReport.measure`.
    """
    sheet, measures = contact_sheet(frames, SHEET_COLUMNS), None
    if report is not None:
        measures = sides.attempt(report.measure, result.video, reference, reference_name)
    if measures is not None:
        sheet = with_caption(sheet, summary(measures.values))
    sides.attempt(write_image, result.contact_sheet, sheet)
    if report is not None and measures is not None:
        sides.attempt(report.write, result.video, measures)


def shown_frames(num_frames: int) -> set[int]:
    """Numbers of the frames that a contact sheet shows."""
    return {round(i) for i in np.linspace(0, num_frames - 1, min(SHEET_FRAMES, num_frames))}


def _write_video(
    result: Result,
    fps: float | Fraction,
    frames: Iterable[np.ndarray],
    poses: Iterable[np.ndarray],
    reference: np.ndarray,
    audio: "Audio | None",
    report: ResultReport | None,
) -> None:
    sides, sheet, shown = SideOutputs(result.video), [], shown_frames(result.num_frames)
    with contextlib.ExitStack() as stack:
        stack.enter_context(timed(report, "decoding and writing"))
        writers: Any = None
        for i, (frame, pose) in enumerate(zip(frames, poses)):
            row = side_by_side([reference, pose, frame])
            if writers is None:
                beside_it = SideVideo(sides, result.side_by_side, fps, row.shape[1], row.shape[0])
                writer = VideoWriter(result.video, fps, frame.shape[1], frame.shape[0], audio=audio)
                writers = [stack.enter_context(each) for each in (beside_it, writer)]  # the result is the first to end
            for each, picture in zip(writers, (row, frame)):
                each.write(picture)
            if i in shown:
                sheet.append(frame)
    write_sheet(sides, result, sheet, report, reference)
    sides.tell()
