"""Decoding a stream of a video file: strictly, so that damage is an error and no frame is made up."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import av

from ppdiffusers_ext.data.transparency import transparent_decoder
from ppdiffusers_ext.data.video_file import MOST_PIXELS, open_again

# Pictures that may follow a cut before all references from before it are gone: H.264 holds 16 at most, and an encoder
# puts up to 16 pictures that are none between two that are.
_REACH = 16 * 17
_OUTPUT_CORRUPT = 8  # FFmpeg's AV_CODEC_FLAG_OUTPUT_CORRUPT
_IDR, _SLICE = 5, 1  # kinds of NAL units


def decode_strictly(
    container: Any, stream: Any, skipped: Collection[int | None] = frozenset(), begin: int | None = None
) -> Iterator[Any]:
    """Decoded frames, in the order in which they are shown; damage raises `av.error.FFmpegError`.

    Args:
        skipped: times of packets, in units of the stream, that the decoder is not given. See `Packets`.
        begin: time of the picture at which decoding begins: those shown before it are not wanted, and may fail.
    """
    decode = make_decoder(stream)
    for packet in packets_of(container, stream, skipped):
        try:
            frames = decode(packet)
        except av.error.FFmpegError:
            if begin is None or packet.pts is None or packet.pts >= begin:
                raise
            frames = []
        yield from frames


def packets_of(container: Any, stream: Any, skipped: Collection[int | None] = frozenset()) -> Iterator[Any]:
    """The packets of a stream but the skipped ones, and the empty one that ends it.

    Others that are empty would end it before.
    """
    for packet in container.demux(stream):
        if packet.pts not in skipped if packet.size else packet.dts is None:
            yield packet


def make_decoder(stream: Any) -> Callable[[Any], Any]:
    """What makes frames of the packets of `packets_of`, one by one, and raises `av.error.FFmpegError` on damage."""
    decoder = transparent_decoder(stream)
    if decoder is not None:
        return lambda packet: decoder.decode(packet if packet.size else None)
    # Without err_detect a damaged picture is patched up with parts of others, in silence.
    _set_up(stream.codec_context, err_detect="explode")
    return _CutDecoder(stream).decode if stream.codec_context.name == "h264" else lambda packet: packet.decode()


def _set_up(context: av.CodecContext, **options: str) -> None:
    if not context.is_open:
        context.thread_count = 1  # so that a damaged file fails at the same frame every time
        context.options = {"max_pixels": str(MOST_PIXELS)} | options


class _CutDecoder:
    """A strict decoder of H.264 that also accepts what is left over behind a cut.

    Where decoding begins at a picture that is no IDR picture, it or one of those behind it may strike references from
    before the cut off the list (memory management control operations). FFmpeg's strict decoder fails at that and loses
    a frame, though all that is shown is there. From there on a second decoder, which is not strict, gives the frames,
    until the picture is past and both are in step. It marks frames whose slices it had to patch up: these are damaged.
    Bits of headers that are wrong it may miss where the strict decoder would not.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        stream.codec_context.flags &= ~_OUTPUT_CORRUPT  # which the pass before may have set
        self._begin: Any = None
        # Whether references from before the beginning may still be around; None before the first packet.
        self._is_near: bool | None = None
        self._seen = 0  # packets
        self._packets: list = []  # what the strict decoder was given
        self._given = 0  # frames that it gave
        self._has_given = False  # whether any decoder gave a frame
        self._lenient: Any = None
        self._failed: Any = None
        self._error: Any = None

    def decode(self, packet: Any) -> list:
        """Frames of a packet; raises `av.error.FFmpegError` on damage."""
        self._follow(packet)
        if not packet.size and self._has_given:
            self._let_out()
        try:
            frames = packet.decode()
        except av.error.FFmpegError as error:
            if self._seen == 2 and self._lenient is not None and packet.pts is not None:
                # The one at which decoding begins failed, which this one refers to.
                self._failed, self._error = packet.pts, error
                return self._decode_leniently(packet, [])
            # A picture that is shown before the beginning may lack what it refers to.
            if not self._is_near or packet.pts is None or packet.pts < self._begin:
                raise
            self._failed, self._error = packet.pts, error
            self._lenient, earlier = self._replay()
            self._stop()
            return self._decode_leniently(packet, [], earlier)
        if self._lenient is not None:
            return self._decode_leniently(packet, frames)
        self._has_given |= bool(frames)
        if self._is_near:
            self._packets.append(packet)
            self._given += len(frames)
        return frames

    def _let_out(self) -> None:
        """Give the last frames too: at the end FFmpeg holds back those decoded before the first one was given.

        It takes them for pictures before the one at which decoding begins. Behind a frame that was given none are.
        """
        for stream in (self._stream, self._lenient):
            if stream is not None:
                stream.codec_context.flags |= _OUTPUT_CORRUPT

    def _follow(self, packet: av.Packet) -> None:
        if self._is_near is None:
            self._begin = packet.pts
            self._is_near = packet.pts is not None and not _is_idr(packet, self._stream.codec_context.extradata)
        elif packet.is_keyframe or self._seen == _REACH:
            self._stop()
        self._seen += 1

    def _stop(self) -> None:
        """Accept no failure any more, but one of the second picture where the first one failed.

        Encoders strike off all that is from before a keyframe in one picture.
        """
        self._is_near = False
        self._packets.clear()

    def _replay(self) -> tuple[Any, list[av.VideoFrame]]:
        """The second decoder, given what the first one was, and the frames that the first one did not give."""
        stream = open_again(self._stream)
        _set_up(stream.codec_context)
        frames = [frame for packet in self._packets for frame in stream.codec_context.decode(packet)]
        return stream, frames[self._given :]

    def _decode_leniently(
        self, packet: av.Packet, strict: Sequence[av.VideoFrame], earlier: Sequence[av.VideoFrame] = ()
    ) -> list[av.VideoFrame]:
        """Frames of a packet, of which the strict decoder made the frames `strict`, behind the frames `earlier`."""
        frames = [*earlier, *self._lenient.codec_context.decode(packet if packet.size else None)]
        # Of pictures in two fields it does not mark those that it patches up.
        if any(frame.is_corrupt or frame.interlaced_frame for frame in frames):
            raise self._error
        times = [frame.pts for frame in frames]
        if None not in times and times[:1] > [self._failed] and times == [frame.pts for frame in strict]:
            self._lenient = None
        self._has_given |= bool(frames)
        return frames


def _is_idr(packet: av.Packet, extradata: bytes) -> bool:
    """Whether the first slice of an H.264 packet is one of an IDR picture, before which nothing is referred to."""
    content = bytes(packet)
    if extradata is not None and extradata[:1] == b"\x01":  # units behind their lengths
        size, place = (extradata[4] & 3) + 1 if len(extradata) > 4 else 4, 0
        while place + size < len(content):
            kind = content[place + size] & 31
            if _SLICE <= kind <= _IDR:
                return kind == _IDR
            place += size + int.from_bytes(content[place : place + size], "big")
        return False
    units = content.split(b"\0\0\1")[1:]
    return next((unit[0] & 31 for unit in units if unit and _SLICE <= unit[0] & 31 <= _IDR), None) == _IDR
