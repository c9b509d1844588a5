"""Videos written by PyAV (FFmpeg): H.264 in MP4 and MOV, VP9 in WebM, and GIF, by the name of the file.

Frames are a stream: memory does not grow with their number. GIF has no sound, and a palette of 256 colours per frame.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import av.filter
import numpy as np
from av.video.reformatter import VideoReformatter

from ppdiffusers_ext.data.outputs import output_file
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.options import any_of

if TYPE_CHECKING:
    from types import TracebackType

    from ppdiffusers_ext.data.audio import Audio


@dataclass(frozen=True)
class _Format:
    """How frames are encoded, and what the container is told."""

    codec: str
    pixels: str
    container: dict
    most_fps: float = float("inf")


_H264 = _Format("libx264", "yuv420p", {"movflags": "+faststart"})
_FORMATS = {
    ".mp4": _H264,
    ".mov": _H264,
    ".webm": _Format("libvpx-vp9", "yuv420p", {"fflags": "+bitexact"}),
    ".gif": _Format("gif", "pal8", {}, most_fps=50),  # players slow down what is shown for less than 0.02 s
}
SUFFIXES = tuple(_FORMATS)
_MOST_CRF, _MOST_CRF_OF_VP9 = 51, 63
_BT709 = 1  # the code of BT.709 in H.264 and FFmpeg for primaries, transfer curve and matrix alike
_NOT_NAMED = 2
_TV_RANGE = 1


class VideoWriter:
    """Write RGB frames to a video file (yuv420p, BT.709; MP4 with its index at the front). Use it in a `with` block.

    path: ends in one of `SUFFIXES`. fps: Fraction (kept exactly, as 30000/1001; a GIF rounds times to 0.01 s), int or
    float. width, height: of the frames given; but for GIF, odd ones are made even by repeating the last column or row,
    which yuv420p needs. crf: 0 (best) to 51; without effect on GIF. audio: an `Audio` to put beside the frames, as
    long as they last. preset: of x264, "veryfast" for one, which trades size for time; its own default if left out.
    matrix: FFmpeg's code of the colours of frames that are given to `write_stored`; those of RGB become BT.709.
    full_colours: keep colours as fine as brightness (yuv444p), in MP4 and MOV; many players do not show that.

    The file appears at `path` when the block ends, complete, or not at all; until then an earlier one stays. Raises
    InputError where the file cannot be written, when no frame was written, and for settings that are not possible.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        fps: float | Fraction,
        width: int,
        height: int,
        crf: float = 18,
        audio: Audio | None = None,
        preset: str | None = None,
        matrix: int = _BT709,
        full_colours: bool = False,
    ) -> None:
        self.path = Path(path)
        check_video_name(path)
        self._format = _FORMATS[self.path.suffix.lower()]
        if full_colours:
            if self._format is not _H264:
                raise InputError(f"cannot write {path} with full colours; a name in .mp4 or .mov is accepted")
            self._format = replace(_H264, pixels="yuv444p")
        check_video_rate(path, fps)
        if not 0 < fps < float("inf") or width < 1 or height < 1 or not 0 <= crf <= _MOST_CRF:
            raise InputError(
                f"cannot write {path} with {fps} fps, {width}x{height} pixels, crf {crf}; "
                "positive numbers and a crf from 0 to 51 are accepted"
            )
        self.fps = fps if isinstance(fps, (int, Fraction)) else Fraction(fps).limit_denominator(1001)
        self.width, self.height, self.crf, self._audio = width, height, crf, audio
        self._matrix = matrix
        self._preset = {} if preset is None else {"preset": preset}
        self.num_frames = 0

    def __enter__(self) -> VideoWriter:
        if self._format.codec not in av.codecs_available:
            raise InputError(
                f"cannot write {self.path}: this PyAV has no encoder {self._format.codec}; the wheels of av on PyPI "
                "have it"
            )
        with contextlib.ExitStack() as stack:
            temporary = stack.enter_context(output_file(self.path))
            self._container = av.open(f"file:{temporary}", "w", options=self._format.container)
            stack.push(self._finish)
            self._stream = self._add_stream()
            if self._audio is not None:
                self._audio.add_to(self._container, stack)
            self._convert = _Palettes(self) if self._format.pixels == "pal8" else _Yuv(self._format.pixels)
            self._stack = stack.pop_all()
        return self

    def _add_stream(self) -> Any:
        # PyAV types it as of any kind.
        stream: Any = self._container.add_stream(self._format.codec, rate=Fraction(self.fps))
        stream.width, stream.height, stream.pix_fmt = *self.stored_size, self._format.pixels
        context = stream.codec_context
        if self._format.pixels == "pal8":
            return stream
        if self._format.codec == _H264.codec:
            # x264's macroblock tree reads memory that it has not written, so that files would differ from run to run;
            # and processors of other makes are given other code unless it is told to be the same on all.
            stream.options = {"crf": str(self.crf), "x264-params": "mbtree=0:cpu-independent=1"} | self._preset
        else:
            crf = round(self.crf * _MOST_CRF_OF_VP9 / _MOST_CRF)
            stream.options = {"crf": str(crf), "deadline": "good", "cpu-used": "2"}
            context.bit_rate = 0  # the quality is what counts
        context.thread_count = 1  # the output depends on the number of threads
        context.colorspace = self._matrix
        context.color_primaries = context.color_trc = _BT709 if self._matrix == _BT709 else _NOT_NAMED
        context.color_range = _TV_RANGE
        return stream

    @property
    def stored_size(self) -> tuple[int, int]:
        """Width and height of the frames in the file."""
        odd = self._format.pixels == "yuv420p"
        return self.width + self.width % 2 * odd, self.height + self.height % 2 * odd

    def write(self, frames: np.ndarray) -> None:
        """Append frames: (N, H, W, 3) or (H, W, 3) uint8 RGB. Raises ValueError for another shape or type."""
        frames = np.asarray(frames)
        expected = (self.height, self.width, 3)
        if frames.dtype != np.uint8 or frames.ndim not in (3, 4) or frames.shape[-3:] != expected:
            raise ValueError(
                f"frames have shape {frames.shape} and type {frames.dtype}, not (N, *{expected}) and uint8"
            )
        for image in frames.reshape(-1, *expected):
            width, height = self.stored_size
            if (width, height) != (self.width, self.height):
                image = np.pad(image, ((0, height - self.height), (0, width - self.width), (0, 0)), mode="edge")
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = self.num_frames, 1 / Fraction(self.fps)
            self._encode(self._convert.push(frame))
            self.num_frames += 1
        self._mux_audio()

    def write_stored(self, frame: Any) -> None:
        """Append a decoded frame of PyAV as it is: yuv420p of the writer's size, which is even. It is changed."""
        frame.pict_type = "NONE"  # that of its source would be kept
        frame.pts, frame.time_base = self.num_frames, 1 / Fraction(self.fps)
        self._encode([frame])
        self.num_frames += 1
        self._mux_audio()

    def _encode(self, frames: Iterable[av.VideoFrame]) -> None:
        for frame in frames:
            self._container.mux(self._stream.encode(frame))

    def _mux_audio(self) -> None:
        if self._audio is not None:
            for packet in self._audio.packets(self.num_frames / self.fps):
                self._container.mux(packet)

    def __exit__(self, *exception: Any) -> Any:
        return self._stack.__exit__(*exception)

    def _finish(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the file before `output_file` renames or removes it."""
        complete = kind is None and self.num_frames > 0
        try:
            if complete:
                self._encode(self._convert.finish())
                self._container.mux(self._stream.encode())
                self._container.close()
        finally:
            # A file that is thrown away may fail to close for the reason that its writing did.
            with contextlib.suppress(av.error.FFmpegError):
                self._container.close()
        if kind is None and not complete:
            raise InputError(f"no frames were given to write to {self.path}; at least one frame is accepted")


def check_video_name(path: str | os.PathLike) -> None:
    """Raises InputError for a name of a file that no video can be written to."""
    if Path(path).suffix.lower() not in _FORMATS:
        raise InputError(f"cannot write a video to {path}; a name that ends in {any_of(SUFFIXES)} is accepted")


def check_video_rate(path: str | os.PathLike, fps: float | Fraction) -> None:
    """Raises InputError for more frames per second than a format can show."""
    most = _FORMATS[Path(path).suffix.lower()].most_fps
    if fps > most:
        raise InputError(
            f"cannot write {path} with {float(fps):g} fps; up to {most:g} fps, or a name in .mp4, is accepted"
        )


class _Yuv:
    """Frames of RGB in BT.709, as `pixels` (yuv420p, yuv444p)."""

    def __init__(self, pixels: str) -> None:
        self._reformatter, self._pixels = VideoReformatter(), pixels

    def push(self, frame: av.VideoFrame) -> list[Any]:
        # PyAV takes names of colour spaces as well, which its types leave out.
        spaces: dict[str, Any] = {"src_colorspace": "DEFAULT", "dst_colorspace": "ITU709"}
        pts, time_base = frame.pts, frame.time_base
        converted = self._reformatter.reformat(frame, format=self._pixels, **spaces)
        converted.pts, converted.time_base = pts, time_base
        return [converted]

    def finish(self) -> list[Any]:
        return []


class _Palettes:
    """Frames of RGB in the 256 colours that suit each best, with dithering."""

    def __init__(self, writer: VideoWriter) -> None:
        self._graph = graph = av.filter.Graph()
        time_base = 1 / Fraction(writer.fps)
        pixels: Any = "rgb24"  # PyAV takes names, too
        source = graph.add_buffer(width=writer.width, height=writer.height, format=pixels, time_base=time_base)
        split, sink = graph.add("split"), graph.add("buffersink")
        palette = graph.add("palettegen", "stats_mode=single:reserve_transparent=0")
        use = graph.add("paletteuse", "new=1:dither=sierra2_4a")
        source.link_to(split)
        split.link_to(use, 0, 0)
        split.link_to(palette, 1, 0)
        palette.link_to(use, 0, 1)
        use.link_to(sink)
        graph.configure()

    def push(self, frame: av.VideoFrame) -> list[Any]:
        self._graph.push(frame)
        return self._ready()

    def finish(self) -> list[Any]:
        self._graph.push(None)
        return self._ready()

    def _ready(self) -> list[av.VideoFrame]:
        frames: list[Any] = []
        with contextlib.suppress(av.error.BlockingIOError, av.error.EOFError):
            while True:
                frames.append(self._graph.pull())
        return frames
