"""Videos: probing and streaming decoding, by PyAV (FFmpeg).

Frames are (height, width, 3) uint8 RGB arrays, upright: the rotation that telephones write beside the picture is
applied. Reading is a stream: memory does not grow with the number of frames.
"""

import contextlib
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from ppdiffusers_ext.errors import InputError, MissingFileError

# A closed list: FFmpeg also reads playlists, which open other files and addresses.
_FORMATS = "mov,matroska,webm,gif"
_ACCEPTED = "a complete video file (MP4, MOV, WebM, MKV, GIF) is accepted"
_BT709 = 1  # FFmpeg's code of the matrix
_FULL_RANGE = 2
# PyAV converts by the BT.601 matrix and from the narrow range unless it is told what the file names.
_MATRICES = {_BT709: "ITU709", 4: "FCC", 7: "SMPTE240M"}
_BT2020 = (9, 10)  # for which PyAV has no name, but which it takes from the frame
_HDR = (16, 18)  # transfer curves PQ and HLG


@dataclass(frozen=True)
class VideoInfo:
    """What `probe_video` found.

    width, height: pixels of the upright frames. num_frames: frames that are really there. fps: exact. duration:
    seconds, num_frames / fps. rotation: degrees clockwise (0, 90, 180, 270) that reading applies. is_hdr: whether the
    file says that its brightness is coded for displays of high dynamic range; frames are given as they are stored.
    """

    width: int
    height: int
    num_frames: int
    fps: Fraction
    duration: float
    rotation: int
    is_hdr: bool = False


def probe_video(path):
    """The `VideoInfo` of the first video track. Walks over the packets without decoding them, so it is cheap.

    Raises MissingFileError where there is no file, and InputError for what is not a video, has no video track, no
    frames or no frame rate, or is cut off (fewer frames than the header promises).
    """
    return probe_packets(path)[0]


def probe_packets(path):
    """What `probe_video` gives, and the `Packets` that it was found from."""
    with open_video(path) as (container, stream):
        fps = stream.average_rate or stream.guessed_rate
        packets = scan_packets(container, stream)
        if packets.shown == 0:
            raise InputError(f"{path} is a video without frames; {_ACCEPTED}")
        if not fps or fps <= 0:
            raise InputError(f"{path} does not say its frame rate; {_ACCEPTED}")
        _check_complete(path, container, stream, fps, packets)
        rotation = round(-stream.side_data.get("DISPLAYMATRIX", 0.0)) % 360
        if rotation % 90:
            raise InputError(f"{path} is rotated by {rotation} degrees; multiples of 90 are accepted")
        size, is_hdr = (stream.width, stream.height), stream.codec_context.color_trc in _HDR
    width, height = reversed(size) if rotation in (90, 270) else size
    duration = float(packets.shown / fps)
    return VideoInfo(width, height, packets.shown, Fraction(fps), duration, rotation, is_hdr), packets


def read_frames(path, start=0, count=None, stride=1, info=None):
    """Iterate over the frames start, start + stride, ... of the video: `count` of them, or all up to its end.

    Yields (height, width, 3) uint8 RGB arrays. Decodes as it goes, on one thread, and closes the file when the
    iteration ends or is given up. Transparent pixels (GIF) are laid over white; pixels are taken as square.
    info: what `probe_video(path)` said, if the caller has it; probed here otherwise.

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
    return _decode(path, info, range(start, end, stride))


def frame_times(path):
    """Seconds at which the frames of a video begin to be shown, from the first one on, without decoding them.

    Raises what `probe_video` raises where there is no such file.
    """
    with open_video(path) as (container, stream):
        packets, unit = scan_packets(container, stream), stream.time_base
    times = sorted(packets.times)
    return [float((time - times[0]) * unit) for time in times]


@contextlib.contextmanager
def open_video(path, **options):
    """Open the file and yield (container, first video stream)."""
    path = Path(path)
    if not path.exists():
        raise MissingFileError(f"{path} does not exist; {_ACCEPTED}")
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a video; {_ACCEPTED}")
    options["format_whitelist"] = _FORMATS
    try:
        # "file:" keeps FFmpeg from taking a colon in the name for a protocol; tags need not be valid text.
        container = av.open(f"file:{path}", options=options, metadata_errors="replace")
    except av.error.PermissionError as error:
        raise InputError(f"{path} may not be read by this user; a file that can be read is accepted") from error
    except av.error.FFmpegError as error:
        raise InputError(f"{path} is not a video that can be read, or it is cut off; {_ACCEPTED}") from error
    with container:
        if not container.streams.video:
            raise InputError(f"{path} has no video track; {_ACCEPTED}")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise InputError(f"{path} is coded in a way that FFmpeg cannot decode; {_ACCEPTED}")
        yield container, stream


@dataclass
class Packets:
    """What `scan_packets` found.

    total: coded pictures that are there in full. shown: of these, the ones that become frames. end: seconds at which
    the last one ends. damaged: whether the file is. times: when the shown ones begin, as stored, in units of the
    stream. keys: those of them at which decoding can begin.
    """

    total: int = 0
    shown: int = 0
    end: float = 0.0
    damaged: bool = False
    times: list = field(default_factory=list)
    keys: list = field(default_factory=list)


def scan_packets(container, stream):
    """The `Packets` of a stream, from where it is to its end, without decoding them."""
    packets, fps = Packets(), stream.average_rate or stream.guessed_rate
    try:
        for packet in container.demux(stream):
            if packet.size == 0:
                continue  # the empty packet that ends the stream
            if packet.is_corrupt:
                packets.damaged = True
                continue
            packets.total += 1
            is_shown = not (packet.is_discard or _is_hidden(packet, stream))
            packets.shown += is_shown
            if packet.pts is not None:
                packets.times += [packet.pts] * is_shown
                packets.keys += [packet.pts] * (is_shown and packet.is_keyframe)
                length = packet.duration * packet.time_base if packet.duration else 1 / fps if fps else 0
                packets.end = max(packets.end, float(packet.pts * packet.time_base + length))
    except av.error.FFmpegError:
        packets.damaged = True
    return packets


def _is_hidden(packet, stream):
    """VP8 has pictures that only serve to predict others; a bit of their first byte tells."""
    return stream.codec_context.name in ("vp8", "libvpx") and not bytes(packet)[0] & 0x10


def _check_complete(path, container, stream, fps, packets):
    """Raise InputError when the file holds less than its header promises."""
    present, promised = packets.total, stream.frames
    if promised > present and not packets.damaged:
        # An edit list may leave coded pictures out, which is no damage: ask for all that are stored.
        with open_video(path, ignore_editlist="1") as (whole, whole_stream):
            everything = scan_packets(whole, whole_stream)
        present, packets.damaged = everything.total, everything.damaged
    if not promised and "matroska" in container.format.name:
        promised_end = _matroska_end(container, stream)
        # A whole frame is missing, not a rounding of the milliseconds in which these files count.
        if promised_end - packets.end > 0.75 / fps:
            promised = round(promised_end * fps)
    if promised > present:
        raise InputError(f"{path} is cut off: {present} of {promised} frames are there; {_ACCEPTED}")
    if packets.damaged or (container.format.name == "gif" and not _ends_like_gif(path)):
        raise InputError(f"{path} is damaged or cut off after {present} frames; {_ACCEPTED}")


def _matroska_end(container, stream):
    """Seconds at which the video track ends by the header of an MKV or WebM file, 0 where it does not say."""
    tag = stream.metadata.get("DURATION", "").split(":")  # 00:00:01.960000000
    if len(tag) == 3:
        with contextlib.suppress(ValueError):
            return int(tag[0]) * 3600 + int(tag[1]) * 60 + float(tag[2])
    alone = len(container.streams) == 1  # the duration of the file is that of its longest track
    return container.duration / av.time_base if alone and container.duration else 0.0


def _ends_like_gif(path):
    with open(path, "rb") as file:
        file.seek(-min(64, Path(path).stat().st_size), 2)
        return file.read().rstrip(b"\0").endswith(b";")


def _decode(path, info, indices):
    """Decode from the beginning; convert and yield the frames at `indices`, a range."""
    convert = VideoReformatter()
    with open_video(path) as (container, stream):
        frames = decode_strictly(container, stream)
        for index in range(indices.stop):
            try:
                frame = next(frames, None)
            except av.error.FFmpegError as error:
                raise _damaged_frame(path, index) from error
            if frame is None:
                raise InputError(f"{path} has {info.num_frames} frames, but only {index} can be decoded; {_ACCEPTED}")
            if frame.is_corrupt:
                raise _damaged_frame(path, index)
            if index in indices:
                yield to_upright(frame, convert, path, index, info)


def decode_strictly(container, stream):
    """Decoded frames, in the order in which they are shown; damage raises `av.error.FFmpegError`."""
    if not stream.codec_context.is_open:
        stream.codec_context.thread_count = 1  # so that a damaged file fails at the same frame every time
        # Without this a damaged picture is patched up with parts of others, in silence.
        stream.codec_context.options = {"err_detect": "explode"}
    return container.decode(stream)


def to_upright(frame, convert, path, index, info):
    """The (height, width, 3) uint8 RGB array of a decoded frame. Raises InputError if it is of another size."""
    rgb = np.rot90(_to_rgb(frame, convert), -info.rotation // 90)
    if rgb.shape != (info.height, info.width, 3):
        size = f"{rgb.shape[1]}x{rgb.shape[0]} pixels, the video {info.width}x{info.height}"
        raise InputError(f"frame {index} of {path} has {size}; a video of one size is accepted")
    return np.ascontiguousarray(rgb)


def _damaged_frame(path, index):
    return InputError(f"frame {index} of {path} cannot be decoded; {_ACCEPTED}")


def _to_rgb(frame, convert):
    """The (H, W, 3) uint8 array of a decoded frame."""
    has_alpha = any(component.is_alpha for component in frame.format.components)
    image = convert.reformat(
        frame,
        format="rgba" if has_alpha else "rgb24",
        src_colorspace=None if frame.colorspace in _BT2020 else _MATRICES.get(frame.colorspace, "DEFAULT"),
        dst_colorspace="DEFAULT",
        src_color_range="JPEG" if frame.color_range == _FULL_RANGE else None,
    ).to_ndarray()
    if not has_alpha:
        return image
    alpha = image[..., 3:].astype(np.uint16)
    return ((image[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
