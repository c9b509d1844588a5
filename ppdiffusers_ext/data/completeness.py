"""What a video file says of itself and FFmpeg does not: how many frames there are, and what of them is to be shown.

FFmpeg passes over what it cannot read and goes on at the next thing that it can, so that a damaged file looks like a
shorter one. So the file's own tables are held against what FFmpeg finds.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import av

from ppdiffusers_ext.data import matroska, mp4
from ppdiffusers_ext.data.orientation import crop_of_aperture, crop_of_sides
from ppdiffusers_ext.data.packets import scan_packets
from ppdiffusers_ext.data.video_file import ACCEPTED, open_video
from ppdiffusers_ext.errors import InputError

if TYPE_CHECKING:
    import os

    from ppdiffusers_ext.data.orientation import Crop
    from ppdiffusers_ext.data.packets import Packets


def check_complete(path: str | os.PathLike, container: Any, stream: Any, packets: Packets) -> Crop:
    """Raise InputError when a file holds less than it promises. Returns its `Crop`.

    Args:
        container, stream: PyAV's, read to their ends.
        packets: the `Packets` of the stream.
    """
    present, promised, size = packets.total, stream.frames, (stream.width, stream.height)
    if promised > present and not packets.is_damaged:
        # An edit list may leave coded pictures out, which is no damage: ask for all that are stored.
        with open_video(path, ignore_editlist="1") as (whole, whole_stream):
            everything = scan_packets(whole, whole_stream)
        present, packets.is_damaged = everything.total, everything.is_damaged
    is_matroska = "matroska" in container.format.name
    if not promised and is_matroska:
        promised = _by_duration(container, stream, packets)
    if promised > present:
        raise InputError(f"{path} is cut off: {present} of {promised} frames are there; {ACCEPTED}")
    if packets.is_damaged:
        raise InputError(f"{path} is damaged or cut off after {present} frames; {ACCEPTED}")
    try:
        with open(path, "rb") as file:
            if is_matroska:
                videos = [video.index for video in container.streams.video]
                count, sides = matroska.read_track(file, videos.index(stream.index))
                crop = crop_of_sides(*sides, size)  # type: ignore[call-arg]  # four sides
            else:
                count, aperture = mp4.read_track(file, stream.id)
                crop = crop_of_aperture(aperture, size)
    except ValueError as error:
        raise InputError(f"{path} is damaged or cut off: {error}; {ACCEPTED}") from error
    if count is not None and count != present:
        raise InputError(f"{path} is damaged: {present} of {count} frames can be found; {ACCEPTED}")
    return crop


def _by_duration(container: av.container.InputContainer, stream: Any, packets: Packets) -> int:
    """How many frames an MKV or WebM file promises by the time at which it ends, 0 where it does not say."""
    fps, unit = stream.average_rate or stream.guessed_rate, stream.time_base
    promised_end = _matroska_end(container, stream)
    if not fps or not packets.times or not promised_end:
        return 0
    length = packets.last * unit if packets.last else 1 / fps
    end = float(packets.times[-1] * unit + length)
    # A whole frame is missing, not a rounding of the milliseconds in which these files count.
    return round(promised_end * fps) if promised_end - end > 0.75 / fps else 0


def _matroska_end(container: av.container.InputContainer, stream: Any) -> float:
    """Seconds at which the video track ends by the header of an MKV or WebM file, 0 where it does not say."""
    tag = stream.metadata.get("DURATION", "").split(":")  # 00:00:01.960000000
    if len(tag) == 3:
        with contextlib.suppress(ValueError):
            return int(tag[0]) * 3600 + int(tag[1]) * 60 + float(tag[2])
    alone = len(container.streams) == 1  # the duration of the file is that of its longest track
    return container.duration / av.time_base if alone and container.duration else 0.0
