"""Videos: probing and streaming decoding, by PyAV (FFmpeg); animated pictures by imageio (see `animated`).

Frames are (height, width, 3) uint8 RGB arrays as they are meant to be seen: upright, for cameras write a matrix beside
the picture that turns or mirrors it, and of square pixels, for a file may say that its own are not. Reading is a
stream: memory does not grow with the number of frames.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
from av.video.reformatter import VideoReformatter

from ppdiffusers_ext.data import animated
from ppdiffusers_ext.data.completeness import check_complete
from ppdiffusers_ext.data.decoding import decode_strictly
from ppdiffusers_ext.data.orientation import Crop, Orientation, aspect_of, of_matrix, shown_width
from ppdiffusers_ext.data.packets import damaged_frame, leave_out_leading, scan_packets
from ppdiffusers_ext.data.pixels import to_upright
from ppdiffusers_ext.data.timing import measure
from ppdiffusers_ext.data.transparency import tell_once
from ppdiffusers_ext.data.video_file import ACCEPTED, open_video
from ppdiffusers_ext.errors import InputError, printable

if TYPE_CHECKING:
    import numpy as np

    from ppdiffusers_ext.data.animated import Animation
    from ppdiffusers_ext.data.packets import Packets
    from ppdiffusers_ext.data.timing import Timing


_HDR = (16, 18)  # transfer curves PQ and HLG


@dataclass(frozen=True)
class VideoInfo:
    """What `probe_video` found.

    Attributes:
        width, height: pixels of the frames that are given: upright, of square pixels.
        num_frames: frames that are really there.
        fps: frames a second; exact, or of uneven times that of most frames. See `Timing`.
        duration: seconds from the first frame to the end of the last.
        rotation: degrees clockwise (0, 90, 180, 270) that reading applies.
        is_hdr: whether the file says that its brightness is coded for displays of high dynamic range; frames are given
            as they are stored.
        is_mirrored: whether reading mirrors the stored picture, left to right, before it is turned.
        aspect: width to height of a stored pixel.
        is_even: whether frames are shown at a constant rate.
        start: seconds, on the file's own clock, at which the first frame begins: that of its sound.
        times: seconds at which each frame begins, from the first one on.
        coded_size: (width, height) of stored frames.
        crop: the part of stored frames that is shown; None for an animated picture.
        skipped: see `Packets`.
        animation: the `Animation` of an animated picture.
    """

    width: int
    height: int
    num_frames: int
    fps: Fraction
    duration: float
    rotation: int
    is_hdr: bool = False
    is_mirrored: bool = False
    aspect: Fraction = Fraction(1)
    is_even: bool = True
    start: float = field(default=0.0, compare=False)
    times: tuple = field(default=(), compare=False, repr=False)
    coded_size: tuple = field(default=(), compare=False)
    crop: Crop | None = field(default=None, compare=False)
    skipped: frozenset = field(default=frozenset(), compare=False, repr=False)
    animation: animated.Animation | None = field(default=None, compare=False, repr=False)

    @property
    def orientation(self) -> Orientation:
        return Orientation(self.rotation, self.is_mirrored)


def probe_video(path: str | os.PathLike) -> VideoInfo:
    """The `VideoInfo` of the first video track. Decodes only the first frame and walks over the packets: it is cheap.

    Raises MissingFileError where there is no file, and InputError for what is not a video, has no video track, no
    frames or no times, is cut off (fewer frames than the file promises), or says of its picture what is not possible.
    """
    return probe_packets(path)[0]


def probe_packets(path: str | os.PathLike) -> tuple[VideoInfo, Packets | None]:
    """What `probe_video` gives, and the `Packets` that it was found from; None instead for an animated picture."""
    animation = animated.find_animation(path)
    if animation is not None:
        return _info_of_animation(animation), None
    with open_video(path) as (container, stream):
        packets = scan_packets(container, stream)
        if packets.shown == 0:
            raise InputError(f"{path} is a video without frames; {ACCEPTED}")
        crop = check_complete(path, container, stream, packets)
        leave_out_leading(path, packets)
        timing, start = _timing(path, stream, packets)
        aspect, is_hdr = aspect_of(stream.sample_aspect_ratio), stream.codec_context.color_trc in _HDR
        named, is_matroska = (stream.width, stream.height), "matroska" in container.format.name
    first = packets.first
    orientation = of_matrix(_matrix(first), path)
    coded = first.width, first.height
    if crop.size == named:
        crop = Crop(0, 0, *coded)
    elif coded != named:
        raise InputError(f"{path} has frames of {coded} pixels and says that they have {named}; {ACCEPTED}")
    if crop.size != coded and aspect != 1:  # the size of the display, from which FFmpeg has it, is that of the part
        aspect *= Fraction(coded[0] * crop.size[1], coded[1] * crop.size[0]) if is_matroska else 1
    width = shown_width(crop.size[0], crop.size[1], aspect, path)
    if width != crop.size[0]:
        note = "%s has pixels of the shape %d:%d: its frames of %dx%d pixels are read as %dx%d"
        tell_once(note, printable(path), *aspect.as_integer_ratio(), *crop.size, width, crop.size[1])
    width, height = orientation.size(width, crop.size[1])
    info = VideoInfo(
        width, height, packets.shown, timing.fps, timing.duration, orientation.rotation, is_hdr,
        orientation.is_mirrored, aspect, timing.is_even, start, timing.times, coded, crop, packets.skipped,
    )  # fmt: skip
    return info, packets


def _timing(path: str | os.PathLike, stream: Any, packets: Packets) -> tuple[Timing, float]:
    """The `Timing`, and the seconds on the file's clock at which the first frame begins."""
    claimed = stream.average_rate, stream.guessed_rate
    if len(packets.times) == packets.shown:
        timing = measure(packets.times, stream.time_base, packets.last, claimed, path)
        return timing, float(packets.times[0] * stream.time_base)
    rate = next((Fraction(rate) for rate in claimed if rate), None)
    if rate is None:
        raise InputError(f"{path} does not say its frame rate; {ACCEPTED}")
    return measure(range(packets.shown), 1 / rate, 1, [rate], path), 0.0


def _matrix(frame: Any) -> list[int]:
    """The nine numbers of a frame's display matrix."""
    for part in frame.side_data:
        if part.type.name == "DISPLAYMATRIX":
            return memoryview(bytes(part)).cast("i").tolist()
    return [1, 0, 0, 0, 1, 0, 0, 0, 1]


def _info_of_animation(animation: Animation) -> VideoInfo:
    timing = measure(animation.starts, animation.unit, animation.last, (), animation.path)
    width, height = animation.orientation.size(animation.width, animation.height)
    return VideoInfo(
        width, height, len(animation.starts), timing.fps, timing.duration, animation.orientation.rotation,
        is_mirrored=animation.orientation.is_mirrored, is_even=timing.is_even,
        times=timing.times, coded_size=(animation.width, animation.height), animation=animation,
    )  # fmt: skip


def read_frames(
    path: str | os.PathLike,
    start: int = 0,
    count: int | None = None,
    stride: int = 1,
    info: VideoInfo | None = None,
    background: str = "white",
) -> Iterator[np.ndarray]:
    """Iterate over the frames start, start + stride, ... of the video: `count` of them, or all up to its end.

    Yields (height, width, 3) uint8 RGB arrays. Decodes as it goes, on one thread, and closes the file when the
    iteration ends or is given up.
    info: what `probe_video(path)` said, if the caller has it; probed here otherwise.
    background: "white" or "black", over which transparent pixels are laid.

    Raises, at the call, what `probe_video` raises and InputError for frames that the video does not have; while
    iterating, InputError with the index of a frame that cannot be decoded.
    """
    if start < 0 or stride < 1 or (count is not None and count < 1):
        raise InputError(
            f"cannot read frames of {path} with start {start}, count {count}, stride {stride}; "
            "start from 0, count and stride from 1 are accepted"
        )
    info = info or probe_video(path)
    end = info.num_frames if count is None else start + (count - 1) * stride + 1
    if max(end, start + 1) > info.num_frames:
        raise InputError(
            f"{path} has {info.num_frames} frames, too few for start {start}, count {count}, stride {stride}; "
            f"frames 0 to {info.num_frames - 1} are accepted"
        )
    indices = range(start, end, stride)
    if info.animation is not None:
        return animated.decode_animation(info.animation, indices, background)
    return _decode(path, info, indices, background)


def _decode(path: str | os.PathLike, info: VideoInfo, indices: range, background: str) -> Iterator[np.ndarray]:
    """Decode from the beginning; convert and yield the frames at `indices`, a range."""
    convert = VideoReformatter()
    for index, frame in enumerate(decode_stored(path, info, indices.stop)):
        if index in indices:
            yield to_upright(frame, convert, path, index, info, background)


def decode_stored(path: str | os.PathLike, info: VideoInfo, count: int) -> Iterator[Any]:
    """Yields the first `count` frames of a video as PyAV stores them; not for animated pictures. See `read_frames`."""
    with open_video(path) as (container, stream):
        frames = decode_strictly(container, stream, info.skipped)
        for index in range(count):
            try:
                frame = next(frames, None)
            except av.error.FFmpegError as error:
                raise damaged_frame(path, index) from error
            if frame is None:
                raise InputError(f"{path} has {info.num_frames} frames, but only {index} can be decoded; {ACCEPTED}")
            if frame.is_corrupt:
                raise damaged_frame(path, index)
            yield frame
