"""Video files as FFmpeg opens them: which files, and which of their streams."""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import av

from ppdiffusers_ext.errors import InputError, shown_path
from ppdiffusers_ext.files import check_file

if TYPE_CHECKING:
    import os


ACCEPTED = "a complete video file (MP4, MOV, WebM, MKV, GIF, WebP, APNG) is accepted"
# A closed list: FFmpeg also reads playlists, which open other files and addresses.
_FORMATS = "mov,matroska,webm"
MOST_PIXELS = 1 << 26  # of a coded picture: 8192x8192
_OPTIONS = {"format_whitelist": _FORMATS, "max_pixels": str(MOST_PIXELS)}
_PICTURE_CODECS = ("mjpeg", "png", "bmp", "gif", "tiff", "webp")


@contextlib.contextmanager
def open_video(path: str | os.PathLike, **options: Any) -> Iterator[tuple[Any, Any]]:
    """Open the file and yield (container, stream): the first video stream that is no picture attached to the file.

    Args:
        options: of FFmpeg's demuxer.

    Raises:
        MissingFileError, InputError: there is no such file, or it is no video.
    """
    path = check_file(path, "video", ACCEPTED)
    options |= _OPTIONS
    try:
        # "file:" keeps FFmpeg from taking a colon in the name for a protocol; tags need not be valid text.
        container = av.open(f"file:{path}", options=options, metadata_errors="replace")
    except av.error.PermissionError as error:
        raise InputError(
            f"{shown_path(path)} may not be read by this user; a file that can be read is accepted"
        ) from error
    except av.error.FFmpegError as error:
        raise InputError(
            f"{shown_path(path)} is not a video that can be read, or it is cut off; {ACCEPTED}"
        ) from error
    with container:
        streams = [stream for stream in container.streams.video if not _is_attached(path, container, stream)]
        if not streams:
            only = " but a cover picture" if container.streams.video else ""
            raise InputError(f"{shown_path(path)} has no video track{only}; {ACCEPTED}")
        if streams[0].codec_context is None:
            raise InputError(f"{shown_path(path)} is coded in a way that FFmpeg cannot decode; {ACCEPTED}")
        yield container, streams[0]


def open_again(stream: Any) -> Any:
    """The same stream of the same file, with a decoder of its own. It keeps the file open while it is in use."""
    container = av.open(stream.container.name, options=_OPTIONS, metadata_errors="replace")
    return container.streams[stream.index]


def _is_attached(path: str | os.PathLike, container: av.container.InputContainer, stream: Any) -> bool:
    """Whether a stream is a cover picture and no track. PyAV does not show FFmpeg's own flag for that.

    In MP4 a cover belongs to the tags and has no number of a track (they begin with 1); in Matroska it is an
    attachment, which has a MIME type. Where it was made a track, it is one picture beside a video of more.
    """
    if stream.codec_context is None or stream.codec_context.name not in _PICTURE_CODECS:
        return False
    if "mimetype" in {key.lower() for key in stream.metadata} or ("mov" in container.format.name and stream.id == 0):
        return True
    if len(container.streams.video) == 1:
        return False
    counts = _count_packets(path, len(container.streams.video))
    return counts[stream.index] == 1 and max(counts.values()) > 1


def _count_packets(path: str | os.PathLike, enough: int) -> collections.Counter[int]:
    """How many packets each video stream has, counted until so many streams have several, or to the end."""
    counts: collections.Counter = collections.Counter()
    with contextlib.suppress(av.error.FFmpegError), av.open(f"file:{path}", options=_OPTIONS) as container:
        for packet in container.demux(video=tuple(range(len(container.streams.video)))):
            counts[packet.stream_index] += packet.size > 0
            if sum(count > 1 for count in counts.values()) == enough:
                break
    return counts
