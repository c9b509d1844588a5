"""What a video holds, from its packets: which of them become frames, and when these are shown."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import av

from ppdiffusers_ext.data.decoding import decode_strictly, make_decoder, packets_of
from ppdiffusers_ext.data.transparency import tell_once
from ppdiffusers_ext.data.video_file import ACCEPTED, open_video
from ppdiffusers_ext.errors import InputError, printable

if TYPE_CHECKING:
    import os


@dataclass
class Packets:
    """What `scan_packets` found.

    Attributes:
        total: coded pictures that are there in full.
        shown: of these, the ones that become frames.
        times: when the shown ones begin, as stored, in units of the stream; sorted.
        keys: those of them at which decoding can begin; sorted.
        skipped: times of packets that a decoder is not to be given, for it lacks what they refer to; None among them
            stands for all that have no time.
        last: units that the last one lasts, 0 where the file does not say.
        is_damaged: whether the file is.
        order: of each coded picture with a time: (time, whether decoding can begin there, whether it is shown).
        untimed: numbers of the coded pictures that are shown and do not say when.
        first: the first decoded frame, PyAV's.
    """

    total: int = 0
    shown: int = 0
    times: list = field(default_factory=list)
    keys: list = field(default_factory=list)
    skipped: frozenset = frozenset()
    last: int = 0
    is_damaged: bool = False
    order: list = field(default_factory=list)
    untimed: list = field(default_factory=list)
    first: Any = None


def scan_packets(container: Any, stream: Any) -> Packets:
    """The `Packets` of a stream, from where it is to its end, without decoding them: all but `skipped` and `first`."""
    packets, latest = Packets(), None
    try:
        for packet in container.demux(stream):
            if packet.size == 0:
                continue  # the empty packet that ends the stream, or a picture that repeats the one before
            if packet.is_corrupt:
                packets.is_damaged = True
                continue
            packets.total += 1
            is_shown = not (packet.is_discard or _is_hidden(packet, stream))
            packets.shown += is_shown
            if packet.pts is None:
                packets.untimed += [packets.total - 1] * is_shown
                continue
            packets.order.append((packet.pts, packet.is_keyframe, is_shown))
            if is_shown and (latest is None or packet.pts > latest):
                latest, packets.last = packet.pts, packet.duration or 0
    except av.error.FFmpegError:
        packets.is_damaged = True
    _sort(packets)
    return packets


def _sort(packets: Packets, hidden: Collection[int] = frozenset()) -> None:
    shown = [(time, is_key) for time, is_key, is_shown in packets.order if is_shown and time not in hidden]
    packets.times = sorted(time for time, _ in shown)
    packets.keys = sorted(time for time, is_key in shown if is_key)


def _is_hidden(packet: av.Packet, stream: Any) -> bool:
    """VP8 and VP9 have pictures that only serve to predict others; bits of their first byte tell."""
    name = stream.codec_context.name
    if name not in ("vp8", "libvpx", "vp9", "libvpx-vp9"):
        return False
    content = bytes(packet)
    if "9" not in name:
        return not content[0] & 0x10
    is_group = content[-1] & 0xE0 == 0xC0  # several pictures, of which the last one is shown
    # Two bits that are 10, two of the profile (a third follows profile 3), "shown before", "not a key", "shown".
    shift = 1 if content[0] & 0x30 == 0x30 else 0
    is_repeated, is_shown = content[0] & (8 >> shift), content[0] & (2 >> shift)
    return not (is_group or is_repeated or is_shown)


def leave_out_leading(path: str | os.PathLike, packets: Packets) -> None:
    """Find the first frame, and leave pictures before it out that refer to others that are not in the file.

    A clip that was cut without coding it anew begins with them: pictures that are stored behind the first one at which
    decoding can begin, and shown before it (open groups); or, cut anywhere, all that come before such a one. A decoder
    that is given them fails, drops them, or makes pictures up. Says so, once for each file.

    Changes `packets`: `times`, `keys`, `shown`, `skipped`, `first`.

    Raises:
        InputError: the first frame cannot be decoded.
    """
    if packets.untimed and not _leave_out_untimed(path, packets):
        _count_decoded(path, packets)
        return
    position = {time: index for index, (time, _, _) in enumerate(packets.order)}
    start = _entry(path, packets, position)
    before = frozenset(time for time, _, _ in packets.order[:start])
    good, failed = _decode_beginning(path, packets, start, before)
    shown = [frame for frame in good if frame.pts in position]
    first = next((frame for frame in shown if frame.pts >= packets.order[start][0]), None)
    begin = packets.order[start][0]
    # Pictures shown before the one at which decoding begins may be missing; that one, or a later one, may not. With
    # gradual refresh it is not shown either, nor are those up to the first that is whole, which is no entry itself.
    if (
        first is None
        or any(time >= begin for time in failed)
        or (first.pts > begin and packets.order[position[first.pts]][1])
    ):
        raise damaged_frame(path, 0)
    decoded = {frame.pts for frame in shown}
    hidden = {time for time in packets.times if time < first.pts and time not in decoded}
    packets.first = shown[0]
    packets.skipped |= before | frozenset(failed) | _leading(packets, start) & hidden
    if hidden:
        note = "%s begins with %d pictures that need others, which were cut off: they are left out"
        tell_once(note, printable(path), len(hidden))
        packets.shown -= len(hidden)
        _sort(packets, hidden)


def _leave_out_untimed(path: str | os.PathLike, packets: Packets) -> bool:
    """Leave pictures without a time out where they all precede the first one; returns whether they do.

    Matroska has no times below zero: so come the leading pictures of a clip that was cut to begin at the time zero of
    a keyframe, right behind it, and all that are before it. Of other files decoding alone tells what there is.
    """
    count = len(packets.untimed)
    is_behind_entry = bool(packets.order) and packets.order[0][1]
    if not packets.order or packets.untimed[-1] >= count + is_behind_entry:
        return False
    note = "%s begins with %d pictures that have no time, being shown before its beginning: they are left out"
    tell_once(note, printable(path), count)
    packets.shown -= count
    packets.skipped = frozenset([None])
    return True


def _leading(packets: Packets, start: int) -> frozenset[int]:
    """Times of the pictures that are stored behind the one at which decoding begins, and shown before it."""
    begin = packets.order[start][0]
    return frozenset(time for time, _, _ in packets.order[start:] if time < begin)


def _entry(path: str | os.PathLike, packets: Packets, position: dict[int, int]) -> int:
    """The index, in `order`, of the packet at which decoding can begin."""
    marked = next((index for index, (_, is_key, _) in enumerate(packets.order) if is_key), None)
    if marked == 0:
        return 0
    # Some recorders do not mark them: the decoder knows as well.
    with open_video(path) as (container, stream):
        try:
            frame = next(decode_strictly(container, stream, packets.skipped), None)
        except av.error.FFmpegError:
            frame = None
    if frame is not None and frame.key_frame and not frame.is_corrupt:
        found = position.get(frame.pts)
        marked = found if marked is None or (found is not None and found < marked) else marked
    if marked is None:
        raise InputError(f"{path} has no picture at which decoding can begin; {ACCEPTED}")
    return marked


def _decode_beginning(
    path: str | os.PathLike, packets: Packets, start: int, before: frozenset[int]
) -> tuple[list[av.VideoFrame], list[int]]:
    """Frames from a packet on, up to the first that is shown at its time or later; and times of what fails."""
    begin, good, failed = packets.order[start][0], [], []
    with open_video(path) as (container, stream):
        decode = make_decoder(stream)
        for packet in packets_of(container, stream, before | packets.skipped):
            try:
                frames = decode(packet)
            except av.error.FFmpegError:
                failed.append(begin if packet.pts is None else packet.pts)
                frames = []
            good += [frame for frame in frames if frame.pts is not None and not frame.is_corrupt]
            if any(frame.pts >= begin for frame in good) or any(time >= begin for time in failed):
                break
    return sorted(good, key=lambda frame: frame.pts), failed


def _count_decoded(path: str | os.PathLike, packets: Packets) -> None:
    """Decode all of a file. Changes `packets`: `shown`, `first`. Says how many pictures became no frames."""
    with open_video(path) as (container, stream):
        frames = decode_strictly(container, stream)
        packets.first, count = _first(path, frames), 1
        try:
            count += sum(1 for _ in frames)
        except av.error.FFmpegError as error:
            raise damaged_frame(path, count) from error
    if count < packets.shown:
        note = "%s has %d pictures that need others, which were cut off: they are left out"
        tell_once(note, printable(path), packets.shown - count)
    packets.shown = count


def _first(path: str | os.PathLike, frames: Iterator[av.VideoFrame]) -> av.VideoFrame | None:
    try:
        frame = next(frames, None)
    except av.error.FFmpegError as error:
        raise damaged_frame(path, 0) from error
    if frame is None or frame.is_corrupt:
        raise damaged_frame(path, 0)
    return frame


def damaged_frame(path: str | os.PathLike, index: int) -> InputError:
    """The InputError of a frame that cannot be decoded."""
    return InputError(f"frame {index} of {path} cannot be decoded; {ACCEPTED}")
