"""Frames from a video file or from a folder of pictures, and into either: the same to whoever works on them.

An animated picture (GIF, WebP, PNG) is a video. A folder holds pictures of one size, ordered by the last number in
their names: frame_2.png comes before frame_10.png.
"""

import itertools
import logging
import math
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import numpy as np
import PIL.Image

from ppdiffusers_ext.data.animated import is_animated
from ppdiffusers_ext.data.images import read_image, write_image
from ppdiffusers_ext.data.outputs import beside
from ppdiffusers_ext.data.records import digest
from ppdiffusers_ext.data.video import VideoInfo, probe_video, read_frames
from ppdiffusers_ext.errors import InputError, MissingFileError, counted, shown, shown_path
from ppdiffusers_ext.packaged import located

logger = logging.getLogger(__name__)

Value = TypeVar("Value")

FOLDER_FPS = 25  # of a folder, which has no rate of its own; as FFmpeg assumes
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif")
VIDEOS = (".mp4", ".mov", ".mkv", ".webm", ".gif", ".apng")


@dataclass(frozen=True)
class FrameSource:
    """Frames that can be read, several times if need be.

    Attributes:
        path: the video file or the folder.
        width, height, num_frames, fps: of its frames.
        names: of the pictures, in order; empty for a video.
        background: over which transparent pixels are laid, "white" or "black".
        info: `VideoInfo` of a video.
        is_mixed: pictures of other sizes than the first one's are frames, too.
    """

    path: Path
    width: int
    height: int
    num_frames: int
    fps: Fraction
    names: tuple = ()
    background: str = "white"
    info: VideoInfo | None = None
    is_mixed: bool = False

    @property
    def given(self) -> Path:
        """The video, the folder, or the one picture, which is what a message names."""
        return self.path / self.names[0] if len(self.names) == 1 else self.path

    def __iter__(self) -> Iterator[np.ndarray]:
        return self.read()

    def read(self, start: int = 0, end: int | None = None) -> Iterator[np.ndarray]:
        """Iterator over the frames from `start` up to `end`, left out itself: (height, width, 3) uint8 RGB.

        Raises:
            InputError: there are no such frames, or one cannot be read.
        """
        end = self.num_frames if end is None else end
        if not 0 <= start < end <= self.num_frames:
            raise InputError(
                f"{shown_path(self.given)} has no frames {start}:{end}; A:B with 0 <= A < B <= {self.num_frames} is "
                "accepted"
            )
        if not self.names:
            return read_frames(self.path, start, end - start, info=self.info, background=self.background)
        return map(self._read_picture, self.names[start:end])

    def first(self, count: int) -> "FrameSource":
        """The first frames, as a `FrameSource` of at most so many, for reading alone."""
        return replace(self, num_frames=min(count, self.num_frames), names=self.names[:count])

    def digest(self) -> str:
        """The digest of the content of the video, or of the pictures; of one picture it is that of the file."""
        return digest(self.given, self.names if len(self.names) > 1 else None)

    def start_of(self, index: int) -> float:
        """Seconds from the first frame's begin to that of another; of frame `num_frames`, to the end of the last."""
        if self.info is None:
            return float(index / self.fps)
        return self.info.times[index] if index < self.num_frames else self.info.duration

    def resampled(self, fps: float | Fraction, start: int = 0, end: int | None = None) -> Iterator[np.ndarray]:
        """Iterator over frames at an even rate: for each moment of it the frame that the source shows then.

        A video whose frames are shown for uneven times has to pass here, at its own `fps` if need be, before it is
        written at a constant rate; to others, that changes nothing.

        Args:
            fps: frames per second.
            start, end: see `read`, in frames of the source.
        """
        return self.at_rate(self.read(start, end), fps, start, end)

    def at_rate(
        self, values: Iterable[Value], fps: float | Fraction, start: int = 0, end: int | None = None
    ) -> Iterator[Value]:
        """One value for each frame of the source -> one for each that `resampled` gives."""
        return itertools.chain.from_iterable(map(itertools.repeat, values, self._repeats(fps, start, end)))

    def resampled_count(self, fps: float | Fraction, start: int = 0, end: int | None = None) -> int:
        """How many frames `resampled` gives."""
        return sum(self._repeats(fps, start, end))

    def _repeats(self, fps: float | Fraction, start: int, end: int | None) -> list[int]:
        """How often each frame is shown at an even rate: at the middles of its frames."""
        end = self.num_frames if end is None else end
        begin = self.start_of(start)
        # Times in files are rounded: a thousandth of a frame early is not too early.
        ends = [math.ceil((self.start_of(i) - begin) * float(fps) - 0.501) for i in range(start, end + 1)]
        if ends[-1] == 0:  # all of it is shorter than half a frame
            ends[1:] = [1] * (end - start)
        return [after - before for before, after in zip(ends, ends[1:])]

    def _read_picture(self, name: str) -> np.ndarray:
        frame = np.asarray(read_image(self.path / name, self.background, self.given))
        if not self.is_mixed and frame.shape != (self.height, self.width, 3):
            size = f"{frame.shape[1]}x{frame.shape[0]} pixels, the first picture {self.width}x{self.height}"
            raise InputError(f"{shown_path(self.path / name)} has {size}; pictures of one size are accepted")
        return frame


def open_frames(
    path: str | os.PathLike, fps: float | Fraction | None = None, background: str = "white"
) -> FrameSource:
    """A `FrameSource` of a video file, an animated picture, a folder of pictures, or one picture.

    Args:
        fps: of a folder (default `FOLDER_FPS`); a video has its own.
        background: "white" or "black", over which transparent pixels are laid: people stand on white, poses on black.

    Raises:
        MissingFileError, InputError: there is nothing there, or what cannot be read.
    """
    path = Path(located(path))
    if path.is_dir():
        names = picture_names(path)
        if not names:
            raise InputError(
                f"{shown_path(path)} has no pictures; a folder of {', '.join(PICTURES)} files is accepted"
            )
        _tell_gaps(path, names)
        first = read_image(path / names[0], background, path)
        width, height = first.size
        return FrameSource(path, width, height, len(names), Fraction(fps or FOLDER_FPS), names, background)
    if path.suffix.lower() in PICTURES and not is_animated(path):
        picture = read_image(path, background)
        width, height = picture.size
        return FrameSource(path.parent, width, height, 1, Fraction(fps or FOLDER_FPS), (path.name,), background)
    if not path.exists():
        raise MissingFileError(f"{shown_path(path)} does not exist; a video file or a folder of pictures is accepted")
    info = probe_video(path)
    if info.is_hdr:
        logger.warning(
            "%s is tagged as HDR: its brightness is taken as it is stored, so that colours look pale; a video in SDR "
            "looks better",
            path,
        )
    return FrameSource(path, info.width, info.height, info.num_frames, info.fps, background=background, info=info)


def picture_names(folder: str | os.PathLike) -> tuple[str, ...]:
    """Names of the pictures in a folder, by number; those without one come first, by name."""
    names = [path.name for path in Path(folder).iterdir() if path.suffix.lower() in PICTURES and path.is_file()]
    return tuple(sorted((name for name in names if name[0] != "."), key=lambda name: (number_of(name), name)))


def check_names(source: FrameSource) -> None:
    """Raises InputError if the pictures of a `FrameSource` do not all have a number of their own, as frame_12.png."""
    numbered: dict = {}
    for name in source.names if len(source.names) > 1 else ():
        number = number_of(name)
        if number < 0 or number in numbered:
            same = f"the number of {numbered[number]}" if number in numbered else "no number"
            raise InputError(
                f"{shown_path(source.path / name)} has {same}; names such as frame_0.png, frame_1.png are accepted"
            )
        numbered[number] = name


def number_of(name: str | os.PathLike) -> int:
    """The last number in a file's name, -1 if there is none."""
    found = re.findall(r"\d+", Path(name).stem)
    return int(found[-1]) if found else -1


def _tell_gaps(folder: Path, names: tuple[str, ...]) -> None:
    numbers = sorted({number_of(name) for name in names} - {-1})
    missing = sorted(set(range(numbers[0], numbers[-1])) - set(numbers)) if numbers else []
    if missing:
        some = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
        logger.warning("%s lacks the pictures of %s (%s): those that are there are taken in order",
                       folder, counted(len(missing), "number"), some)  # fmt: skip


def parse_range(text: str | None, source: FrameSource) -> tuple[int, int]:
    """The frames A:B of a `FrameSource`, either of which may be left out: (A, B).

    Raises:
        InputError: it is no such thing, or the source has no such frames.
    """
    found = re.fullmatch(r"(\d{0,12}):(\d{0,12})", "0:" if text is None else text)
    start, end = (int(found[1] or 0), int(found[2] or source.num_frames)) if found else (0, 0)
    if not start < end <= source.num_frames:
        raise InputError(
            f"{shown_path(source.given)} has no frames {shown(text)}; A:B with 0 <= A < B <= {source.num_frames} is "
            "accepted"
        )
    return start, end


FRAME_NAMES = r"frame_\d+\.png"  # those that `frame_name` gives


def frame_name(index: int) -> str:
    """The name of a frame in a folder: frame_0.png."""
    return f"frame_{index}.png"


class FolderWriter:
    """Frames into a folder as frame_0.png, frame_1.png and so on, each complete or not there at all."""

    def __init__(self, folder: str | os.PathLike) -> None:
        self.folder, self.num_frames = Path(folder), 0

    def write(self, frame: np.ndarray) -> None:
        """Write the next frame."""
        write_image(self.folder / frame_name(self.num_frames), frame)
        self.num_frames += 1


def check_way(way: str) -> None:
    """Raises InputError for a way to resize that is not known."""
    if way not in ("stretch", "crop", "pad", "fit"):
        raise InputError(f"the way to resize {way!r} is not known; stretch, crop or pad is accepted")


def resize(frame: np.ndarray, width: int, height: int, way: str = "stretch") -> np.ndarray:
    """A frame in another size.

    Args:
        frame: (H, W, 3) uint8.
        width, height: pixels.
        way: "stretch" (or "fit", its old name) distorts it, "crop" keeps its shape and cuts off what is too much on
            both sides, "pad" keeps it whole between black borders.

    Returns:
        (height, width, 3) uint8.
    """
    check_way(way)
    image = PIL.Image.fromarray(frame)
    if way in ("stretch", "fit"):
        return np.asarray(image.resize((width, height), PIL.Image.Resampling.LANCZOS))
    size, corner = placed(image.width, image.height, width, height, way)
    image = image.resize(size, PIL.Image.Resampling.LANCZOS)
    result = PIL.Image.new("RGB", (width, height))
    result.paste(image, corner)
    return np.asarray(result)


def poses_path(drawing: str | os.PathLike, is_folder: bool) -> Path:
    """Where the poses of a drawing lie as JSON: poses.json in a folder of pictures, NAME_poses.json beside a file."""
    return Path(drawing) / "poses.json" if is_folder else beside(drawing, "poses.json")


def placed(
    own_width: int, own_height: int, width: int, height: int, way: str
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where `resize` puts a frame: the (width, height) that it gets, and its corner (x, y) in the result."""
    if way in ("stretch", "fit"):
        return (width, height), (0, 0)
    scale = (max if way == "crop" else min)(width / own_width, height / own_height)
    new_width, new_height = max(1, round(own_width * scale)), max(1, round(own_height * scale))
    return (new_width, new_height), ((width - new_width) // 2, (height - new_height) // 2)
