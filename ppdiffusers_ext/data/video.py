"""Videos: probing, streaming decoding and H.264 writing, by PyAV (FFmpeg).

Frames are (height, width, 3) uint8 RGB arrays, upright: the rotation that telephones write beside the picture is
applied. Both ways are streams: memory does not grow with the number of frames.
"""

import contextlib
import itertools
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import Image

from ppdiffusers_ext.data.outputs import output_file
from ppdiffusers_ext.data.transparency import lay_over, transparent_decoder
from ppdiffusers_ext.errors import InputError, MissingFileError

# A closed list: FFmpeg also reads playlists, which open other files and addresses.
_FORMATS = "mov,matroska,webm,gif"
_ACCEPTED = "a complete video file (MP4, MOV, WebM, MKV, GIF) is accepted"
_SUFFIXES = (".mp4", ".mov")
_BT709 = 1  # the code of BT.709 in H.264 and FFmpeg for primaries, transfer curve and matrix alike
_TV_RANGE, _FULL_RANGE = 1, 2
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


def read_frames(path, start=0, count=None, stride=1, info=None, background="white"):
    """Iterate over the frames start, start + stride, ... of the video: `count` of them, or all up to its end.

    Yields (height, width, 3) uint8 RGB arrays. Decodes as it goes, on one thread, and closes the file when the
    iteration ends or is given up. Pixels are taken as square.
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
    return _decode(path, info, range(start, end, stride), background)


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


def _decode(path, info, indices, background):
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
                yield to_upright(frame, convert, path, index, info, background)


def decode_strictly(container, stream):
    """Decoded frames, in the order in which they are shown; damage raises `av.error.FFmpegError`."""
    if not stream.codec_context.is_open:
        stream.codec_context.thread_count = 1  # so that a damaged file fails at the same frame every time
        # Without this a damaged picture is patched up with parts of others, in silence.
        stream.codec_context.options = {"err_detect": "explode"}
    decoder = transparent_decoder(stream)
    if decoder is None:
        return container.decode(stream)
    packets = itertools.chain((packet for packet in container.demux(stream) if packet.size), [None])
    return itertools.chain.from_iterable(map(decoder.decode, packets))


def to_upright(frame, convert, path, index, info, background="white"):
    """The (height, width, 3) uint8 RGB array of a decoded frame. Raises InputError if it is of another size."""
    pixels = _to_pixels(frame, convert)
    rgb = np.rot90(pixels if pixels.shape[2] == 3 else lay_over(pixels, background, path), -info.rotation // 90)
    if rgb.shape != (info.height, info.width, 3):
        size = f"{rgb.shape[1]}x{rgb.shape[0]} pixels, the video {info.width}x{info.height}"
        raise InputError(f"frame {index} of {path} has {size}; a video of one size is accepted")
    return np.ascontiguousarray(rgb)


def _damaged_frame(path, index):
    return InputError(f"frame {index} of {path} cannot be decoded; {_ACCEPTED}")


def _to_pixels(frame, convert):
    """The uint8 array of a decoded frame: (H, W, 3), or (H, W, 4) of one with transparency."""
    has_alpha = any(component.is_alpha for component in frame.format.components)
    return convert.reformat(
        frame,
        format="rgba" if has_alpha else "rgb24",
        src_colorspace=None if frame.colorspace in _BT2020 else _MATRICES.get(frame.colorspace, "DEFAULT"),
        dst_colorspace="DEFAULT",
        src_color_range="JPEG" if frame.color_range == _FULL_RANGE else None,
    ).to_ndarray()


class VideoWriter:
    """Write RGB frames to an H.264 file (yuv420p, BT.709, index at the front). Use it in a `with` block.

    path: ends in .mp4 or .mov. fps: Fraction (kept exactly, as 30000/1001), int or float. width, height: of the frames
    given; odd ones are made even by repeating the last column or row, which H.264 with yuv420p needs. crf: 0 (best)
    to 51. audio: an `Audio` to put beside the frames, as long as they last.

    The file appears at `path` when the block ends, complete, or not at all; until then an earlier one stays. Raises
    InputError where the file cannot be written, when no frame was written, and for settings that are not possible.
    """

    def __init__(self, path, fps, width, height, crf=18, audio=None):
        self.path = Path(path)
        if self.path.suffix.lower() not in _SUFFIXES:
            raise InputError(f"cannot write a video to {path}; a name that ends in .mp4 or .mov is accepted")
        if not 0 < fps < float("inf") or width < 1 or height < 1 or not 0 <= crf <= 51:
            raise InputError(
                f"cannot write {path} with {fps} fps, {width}x{height} pixels, crf {crf}; "
                "positive numbers and a crf from 0 to 51 are accepted"
            )
        self.fps = fps if isinstance(fps, (int, Fraction)) else Fraction(fps).limit_denominator(1001)
        self.width, self.height, self.crf, self._audio = width, height, crf, audio
        self.num_frames = 0

    def __enter__(self):
        if "libx264" not in av.codecs_available:
            raise InputError(
                f"cannot write {self.path}: this PyAV has no encoder libx264; the wheels of av on PyPI have it"
            )
        with contextlib.ExitStack() as stack:
            temporary = stack.enter_context(output_file(self.path))
            options = {"movflags": "+faststart"}
            self._container = av.open(f"file:{temporary}", "w", options=options)
            stack.push(self._finish)
            self._stream = self._add_stream()
            if self._audio is not None:
                self._audio.add_to(self._container, stack)
            self._convert = VideoReformatter()
            self._stack = stack.pop_all()
        return self

    def _add_stream(self):
        stream = self._container.add_stream("libx264", rate=Fraction(self.fps))
        stream.width, stream.height = self.width + self.width % 2, self.height + self.height % 2
        stream.pix_fmt = "yuv420p"
        # x264's macroblock tree reads memory that it has not written, so that files would differ from run to run;
        # and processors of other makes are given other code unless it is told to be the same on all.
        stream.options = {"crf": str(self.crf), "x264-params": "mbtree=0:cpu-independent=1"}
        context = stream.codec_context
        context.thread_count = 1  # x264's output depends on the number of threads
        context.color_primaries = context.color_trc = context.colorspace = _BT709
        context.color_range = _TV_RANGE
        return stream

    def write(self, frames):
        """Append frames: (N, H, W, 3) or (H, W, 3) uint8 RGB. Raises ValueError for another shape or type."""
        frames = np.asarray(frames)
        expected = (self.height, self.width, 3)
        if frames.dtype != np.uint8 or frames.ndim not in (3, 4) or frames.shape[-3:] != expected:
            raise ValueError(
                f"frames have shape {frames.shape} and type {frames.dtype}, not (N, *{expected}) and uint8"
            )
        for image in frames.reshape(-1, *expected):
            image = np.pad(image, ((0, self.height % 2), (0, self.width % 2), (0, 0)), mode="edge")
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame = self._convert.reformat(frame, format="yuv420p", src_colorspace="DEFAULT", dst_colorspace="ITU709")
            frame.pts, frame.time_base = self.num_frames, 1 / Fraction(self.fps)
            self._container.mux(self._stream.encode(frame))
            self.num_frames += 1
        self._mux_audio()

    def _mux_audio(self):
        if self._audio is not None:
            for packet in self._audio.packets(self.num_frames / self.fps):
                self._container.mux(packet)

    def __exit__(self, *exception):
        return self._stack.__exit__(*exception)

    def _finish(self, kind, error, traceback):
        """Close the file before `output_file` renames or removes it."""
        complete = kind is None and self.num_frames > 0
        try:
            if complete:
                self._container.mux(self._stream.encode())
                self._container.close()
        finally:
            # A file that is thrown away may fail to close for the reason that its writing did.
            with contextlib.suppress(av.error.FFmpegError):
                self._container.close()
        if kind is None and not complete:
            raise InputError(f"no frames were given to write to {self.path}; at least one frame is accepted")


def side_by_side(images):
    """Pictures next to each other: sequence of (H, W, 3) uint8 arrays -> one (max H, sum of W, 3), both sides even.

    Lower pictures are enlarged to the height of the highest, in proportion. Odd sides repeat their last row or column.
    Raises ValueError for an empty sequence or another shape or type.
    """
    if len(images) == 0:
        raise ValueError("side_by_side needs at least one picture, got none")
    for image in images:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"a picture has shape {image.shape} and type {image.dtype}, not (H, W, 3) and uint8")
    height = max(image.shape[0] for image in images)
    row = np.concatenate([_to_height(image, height) for image in images], axis=1)
    return np.pad(row, ((0, height % 2), (0, row.shape[1] % 2), (0, 0)), mode="edge")


def _to_height(image, height):
    if image.shape[0] == height:
        return image
    width = max(1, round(image.shape[1] * height / image.shape[0]))
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))
