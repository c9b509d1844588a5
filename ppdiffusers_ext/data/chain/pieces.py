"""The pieces that a video is split into: the rules of aigc-apps' `video_caption/video_splitting.py`, in numbers.

A scene loses its end, as its last frames may be the first ones of the next scene. Where the original's times are text
with milliseconds, these are exact, so that a piece begins at the frame after the cut and not one later.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ppdiffusers_ext.errors import InputError, shown

_UNIT = 1_000_000  # of a second, in which lengths are compared: what floating point adds must not drop a piece


@dataclass(frozen=True)
class Piece:
    """A piece of a video.

    Attributes:
        start: seconds from the first frame.
        seconds: its length.
        number: "2", of the third scene, or "2_0", of the first piece of that. Those left out count as well.
    """

    start: float
    seconds: float
    number: str


def plan_pieces(
    scenes: Sequence[Sequence[float]],
    duration: float,
    min_seconds: float = 3.0,
    max_seconds: float = 10.0,
    margin: float = 0.5,
) -> list[Piece]:
    """The pieces of a video, in order.

    Scenes shorter than `min_seconds` are left out; longer ones than `max_seconds` become pieces of that, whose rest is
    left out if it is shorter than `min_seconds`; others lose their last `margin` seconds, and may so be shorter than
    `min_seconds`. A video without cuts is cut into pieces of `max_seconds` alike.

    Args:
        scenes: (start, end) in seconds; empty if there is no cut.
        duration: of the video, in seconds.

    Raises:
        InputError: limits that are no lengths, or the wrong way round.
    """
    if not 0 < min_seconds <= max_seconds or not 0 <= margin < min_seconds:
        raise InputError(
            f"clips of {shown(min_seconds)} to {shown(max_seconds)} seconds, without the last {shown(margin)} of a "
            "scene, cannot be made; a minimum above 0 and above what is left out, and a maximum of at least that, are "
            "accepted"
        )
    least, most, cut_off = (round(value * _UNIT) for value in (min_seconds, max_seconds, margin))
    if not scenes:
        return [Piece(*times, str(i)) for i, times in _equal(0, round(duration * _UNIT), least, most)]
    found = []
    for number, scene in enumerate(scenes):
        start, end = (round(value * _UNIT) for value in scene)
        if end - start > most:
            found += [Piece(*times, f"{number}_{i}") for i, times in _equal(start, end, least, most)]
        elif end - start >= least:
            found.append(Piece(start / _UNIT, (end - start - cut_off) / _UNIT, str(number)))
    return found


def _equal(start: int, end: int, least: int, most: int) -> Iterator[tuple[int, tuple[float, float]]]:
    """Number, and start and length in seconds, of the pieces between two times."""
    for number, begin in enumerate(range(start, end, most)):
        if min(most, end - begin) >= least:
            yield number, (begin / _UNIT, min(most, end - begin) / _UNIT)


def seconds_of(timecode: str) -> float:
    """Seconds of "HH:MM:SS" or "HH:MM:SS.mmm". Raises InputError for another text."""
    match = re.fullmatch(r"(\d+):([0-5]?\d):([0-5]?\d(?:\.\d*)?)", timecode)
    if match is None:
        raise InputError(
            f"the time {shown(timecode)} cannot be read; hours:minutes:seconds, 00:01:02.345, is accepted"
        )
    hours, minutes, seconds = match.groups()
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def timecode_of(seconds: float) -> str:
    """ "HH:MM:SS.mmm" of seconds, rounded to milliseconds."""
    total = round(seconds * 1000)
    return f"{total // 3_600_000:02d}:{total // 60_000 % 60:02d}:{total // 1000 % 60:02d}.{total % 1000:03d}"
