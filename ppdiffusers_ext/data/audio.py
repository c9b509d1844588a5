"""The sound of one video beside the frames of another."""

import contextlib
import io
import itertools
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from ppdiffusers_ext.data.animated import find_animation
from ppdiffusers_ext.data.video_file import open_video
from ppdiffusers_ext.errors import InputError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Codecs:
    """What a container holds: codecs that are copied, and the encoder of all others with its rates in Hz."""

    copied: tuple
    encoder: str
    name: str
    rates: tuple


_OF_MP4 = _Codecs(
    ("aac", "mp3", "ac3", "eac3", "alac", "opus"),
    "aac",
    "AAC",
    (7350, 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000),
)
_OF_WEBM = _Codecs(("opus", "vorbis"), "libopus", "Opus", (8000, 12000, 16000, 24000, 48000))
_SILENT = ".gif"
_LAYOUTS = ("7.1", "5.1", "stereo", "mono")  # in one of which an encoder takes what it does not take as it is
_GAP = 0.1  # seconds without sound from which on there is silence; less is a rounding of times
_BLOCK = 1024  # samples
_RUN_UP = 0.5  # seconds before the beginning from which on sound is decoded: its first packets depend on earlier ones
_MISSING = 0.5  # seconds of sound that may be missing unsaid


class Audio:
    """The sound of a video file between two moments, which `VideoWriter` puts beside its frames.

    What the file to be written may hold is copied as it is, in whole packets of about 20 ms; the rest becomes AAC, or
    Opus in WebM, at its own rate and in its own channels, or in the nearest ones that the encoder has. A GIF has no
    sound, and a note says that it is left out.

    Args:
        path: the video file; if it has no sound, nothing is added.
        start: seconds from the video's first frame at which the sound begins.
        first_frame: seconds on the file's clock at which that frame begins, `VideoInfo.start`; those of the first
            stored picture if left out.
        seeks: whether to jump to the beginning, so that a part of a long file is had in a short time.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        start: float = 0.0,
        first_frame: float | None = None,
        seeks: bool = False,
    ) -> None:
        self._path, self._start, self._first_frame, self._seeks = path, start, first_frame, seeks
        self._packets: Iterator = iter(())
        self._next: Any = None
        self._codecs = _OF_MP4
        self._plan: Any = None  # "copy", or the rate and the layout of channels to encode with
        self._is_checked = False
        self._promised = self._end = 0.0  # seconds at which it ends by the header, and by what was read

    @property
    def is_there(self) -> bool:
        """Whether there is sound to be written, once `check` has looked."""
        return self._is_checked and self._plan is not None

    def check(self, target: str | os.PathLike, seconds: float | Fraction | None = None) -> None:
        """Decide how the sound gets into a file, by reading it once and writing its beginning into memory.

        Args:
            target: path, whose suffix says what may be in it.
            seconds: of the sound that are wanted; all if left out.

        Raises:
            InputError, MissingFileError: the sound is damaged, or cannot be written.
        """
        suffix = Path(target).suffix.lower()
        self._codecs = _OF_WEBM if suffix == ".webm" else _OF_MP4
        for plan in self._plans(suffix == _SILENT):
            self._plan, self._is_checked = plan, True
            try:
                return self._rehearse(suffix[1:], seconds)
            except InputError:
                raise
            except (av.error.FFmpegError, ValueError, NotImplementedError):
                continue
        raise InputError(
            f"the sound of {self._path} cannot be put into {target}; sound in {self._codecs.name}, or --no-audio, is "
            "accepted"
        )

    def _plans(self, is_silent: bool) -> list[str | tuple[int, str] | None]:
        """What could be done, the best first: None (no sound), "copy", or rate and layout to encode with."""
        if find_animation(self._path) is not None:
            return [None]
        with open_video(self._path) as (source, _):
            if not source.streams.audio or source.streams.audio[0].codec_context is None:
                return [None]
            if is_silent:
                logger.warning("the result has no sound, which a GIF cannot hold: that of %s is left out", self._path)
                return [None]
            context, rates = source.streams.audio[0].codec_context, self._codecs.rates
            copied = ["copy"] if context.name in self._codecs.copied else []
            rate = next((each for each in rates if each >= context.sample_rate), rates[-1])
            layouts = [context.layout.name, *(each for each in _LAYOUTS if each != context.layout.name)]
            return copied + [(rate, layout) for layout in layouts]

    def _rehearse(self, suffix: str, seconds: float | Fraction | None) -> None:
        """Try the plan: write the sound to nowhere."""
        if self._plan is None:
            return
        with contextlib.ExitStack() as stack:
            container = stack.enter_context(av.open(_Nowhere(), "w", format=suffix))
            packets = self._open(container, stack)
            first = next(packets, None)
            if first is None:
                self._plan = None  # it is empty, or ends before the frames begin
                return
            for packet in itertools.chain([first], packets):
                if seconds is not None and packet.pts * packet.time_base > seconds:
                    return
                container.mux(packet)
            if self._promised - self._end > _MISSING:
                logger.warning("the sound of %s is cut off: %.2f of %.2f seconds are there; the rest is silent",
                               self._path, self._end, self._promised)  # fmt: skip

    def add_to(self, container: Any, stack: contextlib.ExitStack) -> None:
        """Add a track to an output.

        Args:
            container: PyAV's, before anything is written to it.
            stack: an `ExitStack` that closes the file of the sound.

        Raises:
            InputError, MissingFileError: see `check`.
        """
        if not self._is_checked:
            self.check(container.name)
        if self._plan is not None:
            self._packets = self._open(container, stack)
            self._next = next(self._packets, None)

    def packets(self, end: float | Fraction) -> Iterator[Any]:
        """The packets that begin before `end` seconds of the output and have not been given yet.

        Sound that cannot be read any more ends there, and the log says so: frames are not lost for it.
        """
        while self._next is not None and self._next.pts * self._next.time_base < end:
            last = self._next.pts * self._next.time_base
            yield self._next
            try:
                self._next = next(self._packets, None)
            except InputError as error:
                logger.warning("the sound ends after %.2f seconds: %s", last, error)
                self._next = None

    def _open(self, container: Any, stack: contextlib.ExitStack) -> Iterator[Any]:
        """Add the track; returns the iterator over its packets."""
        source, video = stack.enter_context(open_video(self._path))
        stream = source.streams.audio[0]
        self._promised = _promised_end(stream)
        # Tracks need not begin together: what counts is the time of the first frame.
        first = self._first_frame
        first = float((video.start_time or 0) * video.time_base) if first is None else first
        start = self._start + first
        if self._seeks and start > _RUN_UP:
            _seek(source, stream, start - _RUN_UP)
        if self._plan == "copy":
            return self._copied(source, stream, container.add_stream(template=stream), start)
        rate, layout = self._plan
        target = container.add_stream(self._codecs.encoder, rate=rate)
        target.codec_context.layout = layout
        return self._encoded(source, stream, target, start)

    def _copied(self, source: av.container.InputContainer, stream: Any, target: Any, start: float) -> Iterator[Any]:
        offset = None
        for packet in self._read(source.demux(stream)):
            self._end = max(self._end, float(packet.pts * packet.time_base)) if packet.pts is not None else self._end
            # The packet before the first moment is what a decoder begins with.
            if packet.pts is None or (packet.pts + (packet.duration or 0)) * packet.time_base < start:
                continue
            if offset is None:
                offset = round(Fraction(start).limit_denominator(10**6) / packet.time_base)
            packet.pts, packet.dts = packet.pts - offset, packet.pts - offset
            packet.stream = target
            yield packet

    def _encoded(self, source: av.container.InputContainer, stream: Any, target: Any, start: float) -> Iterator[Any]:
        rate, layout = self._plan
        # Packed, as PyAV 12 makes no arrays of eight planes.
        resampler = av.AudioResampler(format="flt", layout=layout, rate=rate)
        channels, count = len(av.AudioLayout(layout).channels), 0  # samples of each channel that have been given
        for frame in self._read(source.decode(stream)):
            if frame.time is None:
                continue
            self._end = frame.time + frame.samples / frame.sample_rate
            begins, frame.pts = round((frame.time - start) * rate), None
            parts = [part.to_ndarray().reshape(-1, channels) for part in resampler.resample(frame)]
            samples = np.concatenate([np.zeros((0, channels), np.float32), *parts])
            if begins + len(samples) <= 0:
                continue
            if begins < 0 and not count:
                samples, begins = samples[-begins:], 0  # without what is heard before the first frame
            for _ in range((begins - count) // _BLOCK if begins - count > _GAP * rate else 0):
                yield from self._encode(target, np.zeros((_BLOCK, channels), np.float32), count)
                count += _BLOCK
            yield from self._encode(target, samples, count)
            count += len(samples)
        for part in resampler.resample(None) if count else ():
            yield from self._encode(target, part.to_ndarray().reshape(-1, channels), count)
            count += part.samples
        yield from target.encode() if count else ()

    def _encode(self, target: Any, samples: np.ndarray, count: int) -> Iterator[Any]:
        """Packets of (n, channels) fp32 samples, of which the first is the `count`-th of all."""
        rate, layout = self._plan
        if not len(samples):
            return
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples).reshape(1, -1), format="flt", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, count, Fraction(1, rate)
        yield from target.encode(frame)

    def _read(self, iterator: Iterator[Any]) -> Iterator[Any]:
        try:
            yield from iterator
        except av.error.FFmpegError as error:
            raise InputError(
                f"the sound of {self._path} is damaged; a complete file, or --no-audio, is accepted"
            ) from error


def _seek(source: Any, stream: Any, seconds: float) -> None:
    """Go to a packet of a stream at a time or before it; to the beginning of the file if its index is wrong."""
    try:
        source.seek(int(seconds / stream.time_base), stream=stream)
        packet = next((packet for packet in source.demux(stream) if packet.pts is not None), None)
        is_before = packet is not None and packet.pts * stream.time_base <= seconds + _RUN_UP
        source.seek(int(seconds / stream.time_base) if is_before else 0, stream=stream)
    except av.error.FFmpegError:  # the file has no index: it is read from where it is
        return


class _Nowhere(io.RawIOBase):
    """A file of which only the position is kept."""

    def __init__(self) -> None:
        self._position = self._end = 0

    def write(self, data: Any) -> int:
        self._position += len(data)
        self._end = max(self._end, self._position)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + (0, self._position, self._end)[whence]
        return self._position

    def tell(self) -> int:
        return self._position

    def writable(self) -> bool:
        return True

    seekable = writable


def _promised_end(stream: Any) -> float:
    """Seconds at which a stream ends by the header of its file; 0 where that does not say."""
    if stream.duration:
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base)
    hours, minutes, seconds = ([*stream.metadata.get("DURATION", "").split(":"), "", ""])[:3]  # of MKV and WebM
    try:
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        return 0.0
