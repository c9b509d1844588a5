"""Videos written as H.264, by PyAV (FFmpeg): a stream, so that memory does not grow with the number of frames."""

from __future__ import annotations

import contextlib
import os
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from ppdiffusers_ext.data.outputs import output_file
from ppdiffusers_ext.errors import InputError

if TYPE_CHECKING:
    from ppdiffusers_ext.data.audio import Audio


_SUFFIXES = (".mp4", ".mov")
_BT709 = 1  # the code of BT.709 in H.264 and FFmpeg for primaries, transfer curve and matrix alike
_TV_RANGE = 1


class VideoWriter:
    """Write RGB frames to an H.264 file (yuv420p, BT.709, index at the front). Use it in a `with` block.

    path: ends in .mp4 or .mov. fps: Fraction (kept exactly, as 30000/1001), int or float. width, height: of the frames
    given; odd ones are made even by repeating the last column or row, which H.264 with yuv420p needs. crf: 0 (best)
    to 51. audio: an `Audio` to put beside the frames, as long as they last.

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
    ) -> None:
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

    def __enter__(self) -> VideoWriter:
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
        stream: Any = self._container.add_stream("libx264", rate=Fraction(self.fps))  # PyAV types it as of any kind
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

    def write(self, frames: np.ndarray) -> None:
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
            # PyAV takes names of colour spaces as well, which its types leave out.
            spaces: dict[str, Any] = {"src_colorspace": "DEFAULT", "dst_colorspace": "ITU709"}
            frame = self._convert.reformat(frame, format="yuv420p", **spaces)
            frame.pts, frame.time_base = self.num_frames, 1 / Fraction(self.fps)
            self._container.mux(self._stream.encode(frame))
            self.num_frames += 1
        self._mux_audio()

    def _mux_audio(self):
        if self._audio is not None:
            for packet in self._audio.packets(self.num_frames / self.fps):
                self._container.mux(packet)

    def __exit__(self, *exception: Any) -> Any:
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
