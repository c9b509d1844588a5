"""The sound of one video beside the frames of another."""

from fractions import Fraction

import av

from ppdiffusers_ext.data.video import probe_video
from ppdiffusers_ext.data.video_file import open_video
from ppdiffusers_ext.errors import InputError

_COPIED = ("aac", "mp3", "ac3", "eac3", "alac", "opus")  # codecs that an MP4 file may hold


class Audio:
    """The sound of a video file between two moments, which `VideoWriter` puts beside its frames.

    What an MP4 file may hold is copied as it is, in whole packets of about 20 ms; the rest becomes AAC.

    Args:
        path: the video file; if it has no sound, nothing is added.
        start: seconds of the first frame.
    """

    def __init__(self, path, start=0.0):
        self._path, self._start = path, start
        self._packets, self._next = iter(()), None

    def add_to(self, container, stack):
        """Add a track to an output.

        Args:
            container: PyAV's, before anything is written to it.
            stack: an `ExitStack` that closes the file of the sound.
        """
        info = probe_video(self._path)
        if info.animation is not None:
            return
        source, _ = stack.enter_context(open_video(self._path))
        if not source.streams.audio or source.streams.audio[0].codec_context is None:
            return
        stream = source.streams.audio[0]
        # Tracks need not begin together: what counts is the time of the first frame.
        start = self._start + info.start
        if stream.codec_context.name in _COPIED:
            self._packets = self._copied(source, stream, container.add_stream(template=stream), start)
        else:
            self._packets = self._encoded(source, stream, container.add_stream("aac", rate=stream.rate), start)
        self._next = next(self._packets, None)

    def packets(self, end):
        """The packets that begin before `end` seconds of the output and have not been given yet."""
        while self._next is not None and self._next.pts * self._next.time_base < end:
            yield self._next
            self._next = next(self._packets, None)

    def _copied(self, source, stream, target, start):
        offset = None
        for packet in self._read(source.demux(stream)):
            # The packet before the first moment is what a decoder begins with.
            if packet.pts is None or (packet.pts + (packet.duration or 0)) * packet.time_base < start:
                continue
            if offset is None:
                offset = round(Fraction(start).limit_denominator(10**6) / packet.time_base)
            packet.pts, packet.dts = packet.pts - offset, packet.pts - offset
            packet.stream = target
            yield packet

    def _encoded(self, source, stream, target, start):
        resampler = av.AudioResampler(format="fltp", layout=stream.layout.name, rate=stream.rate)
        count = None
        for frame in self._read(source.decode(stream)):
            if frame.time is None or frame.time + frame.samples / frame.sample_rate <= start:
                continue
            for part in resampler.resample(frame):
                if count is None:
                    count = max(0, round((frame.time - start) * stream.rate))
                part.pts, part.time_base = count, Fraction(1, stream.rate)
                count += part.samples
                yield from target.encode(part)
        yield from target.encode()

    def _read(self, iterator):
        try:
            yield from iterator
        except av.error.FFmpegError as error:
            raise InputError(
                f"the sound of {self._path} is damaged; a complete file, or --no-audio, is accepted"
            ) from error
