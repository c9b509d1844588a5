"""The boxes of MP4 and MOV files: how many frames there are, and what of them is shown (ISO/IEC 14496-12)."""

import os
import struct
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, BinaryIO

import numpy as np

Box = tuple[int, int]  # where the content of a box begins and ends
_MOST_TABLE = 1 << 28  # bytes
_PICTURE_HEAD = 78  # bytes before the boxes in the description of a picture
_ANYWHERE = {b"free", b"skip", b"uuid", b"udta", b"meta"}
_OF_FRAGMENT = {b"mfhd", b"traf", b"pssh"} | _ANYWHERE
_OF_TRACK = {b"tfhd", b"tfdt", b"trun", b"sdtp", b"sbgp", b"sgpd", b"subs", b"saiz", b"saio", b"senc"} | _ANYWHERE


def read_track(file: Any, track: int) -> tuple[Any, Any]:
    """What a file says of a track: how many frames its tables promise, those of fragments included, and its clean
    aperture.

    Args:
        file: opened, in bytes.
        track: its number.

    Returns:
        A number, None where there is no such track; and (width, height, from the middle to the right, downwards) in
        pixels, fractions, or None.

    Raises:
        ValueError: boxes do not fit into each other, or tables contradict each other.
    """
    everything, count, tracks, aperture = (0, os.fstat(file.fileno()).st_size), 0, set(), None
    for box in _find(file, everything, b"moov", b"trak"):
        tracks.add(_number(file, box))
        if _number(file, box) == track:
            for table in _find(file, box, b"mdia", b"minf", b"stbl"):
                count += _samples(file, table)
                aperture = _aperture(file, table)
    _check_fragments(file, everything, count)
    for box in _find(file, everything, b"moof", b"traf"):
        numbers = [_unpack(file, head, 4, ">I")[0] for head in _find(file, box, b"tfhd")]
        if len(numbers) != 1 or numbers[0] not in tracks:
            raise ValueError("it has a fragment of a track that there is not")
        if numbers == [track]:
            count += sum(_unpack(file, run, 4, ">I")[0] for run in _find(file, box, b"trun"))
    return (count if track in tracks else None), aperture


def _check_fragments(file: BinaryIO, everything: Box, count: int) -> None:
    """Raises ValueError if a fragment is damaged beyond recognition: FFmpeg passes over it.

    Fragments are numbered, and each one's data follow its head.
    """
    for known, *where in ((_OF_FRAGMENT, b"moof"), (_OF_TRACK, b"moof", b"traf")):
        for box in _find(file, everything, *where):
            for kind, begin, _ in _boxes(file, box):
                if kind not in known:
                    raise ValueError(f"byte {begin - 4} begins no part of a fragment")
    numbers = [_unpack(file, box, 4, ">I")[0] for box in _find(file, everything, b"moof", b"mfhd")]
    steps = {after - before for before, after in zip(numbers, numbers[1:])}
    kinds = [kind for kind, _, _ in _boxes(file, everything) if kind in (b"moof", b"mdat")]
    headless = sum(kind == b"mdat" and before != b"moof" for before, kind in zip([None, *kinds], kinds))
    if numbers and ((1 in steps and max(steps) > 1) or headless > bool(count)):
        raise ValueError("one of its fragments is missing")


def _find(file: BinaryIO, within: Box, *kinds: bytes) -> Iterator[tuple[int, int]]:
    """(begin, end) of the contents of all boxes of a kind within others, as `_find(file, box, b"moov", b"trak")`."""
    for kind, begin, end in _boxes(file, within):
        if kind == kinds[0]:
            inner = (begin, end)
            yield from _find(file, inner, *kinds[1:]) if len(kinds) > 1 else (inner,)


def _boxes(file: BinaryIO, within: Box) -> Iterator[tuple[bytes, int, int]]:
    """(kind, begin, end) of the contents of the boxes in another."""
    begin, end = within
    while end - begin >= 8:
        size, kind = _unpack(file, (begin, end), 0, ">I4s")
        head = 8
        if size == 1:
            (size,), head = _unpack(file, (begin, end), 8, ">Q"), 16
        stop = end if size == 0 else begin + size
        if stop < begin + head or stop > end:
            raise ValueError(f"the part at byte {begin} is cut off")
        yield kind, begin + head, stop
        begin = stop


def _unpack(file: BinaryIO, box: Box, offset: int, layout: str) -> tuple[Any, ...]:
    begin, size = box[0] + offset, struct.calcsize(layout)
    if begin + size > box[1]:
        raise ValueError("a table is too short")
    file.seek(begin)
    content = file.read(size)
    if len(content) < size:
        raise ValueError("it is cut off")
    return struct.unpack(layout, content)


def _number(file: BinaryIO, track: Box) -> int | None:
    for head in _find(file, track, b"tkhd"):
        (version,) = _unpack(file, head, 0, ">B")
        return _unpack(file, head, 20 if version else 12, ">I")[0]
    return None


def _samples(file: BinaryIO, table: Box) -> int:
    """How many frames there are by the table of sizes, if the tables of times and of places agree."""
    sizes = [*_find(file, table, b"stsz"), *_find(file, table, b"stz2")]
    if len(sizes) != 1:
        raise ValueError("it has no table of frames, or two")
    _, _, count = _unpack(file, sizes[0], 0, ">III")
    lengths = _rows(file, table, b"stts", 2)[:, 0]
    if lengths.sum() != count:
        raise ValueError(f"it has {count} frames and times of {lengths.sum()}")
    places = _rows(file, table, b"stco", 0) + _rows(file, table, b"co64", 0)
    chunks = _rows(file, table, b"stsc", 3)
    ends = np.append(chunks[1:, 0], places + 1)
    of_chunks = ((ends - chunks[:, 0]) * chunks[:, 1]).sum() if len(chunks) else 0
    if of_chunks != count:
        raise ValueError(f"it has {count} frames and places of {of_chunks}")
    return count


def _aperture(file: BinaryIO, table: Box) -> tuple[Fraction, ...] | None:
    """The clean aperture of the first description of a track."""
    for begin, end in _find(file, table, b"stsd"):
        for _, start, stop in _boxes(file, (begin + 8, end)):
            for box in _find(file, (start + _PICTURE_HEAD, stop), b"clap"):
                values = _unpack(file, box, 0, ">IIIIiIiI")
                if not all(values[1::2]):
                    raise ValueError("it has an aperture that is none")
                return tuple(Fraction(*pair) for pair in zip(values[::2], values[1::2]))
            return None
    return None


def _rows(file: BinaryIO, table: Box, kind: bytes, columns: int) -> Any:
    """A table: (rows, columns) int64; how many rows it says to have, for 0 columns."""
    rows = [np.zeros((0, columns), np.int64)]
    for box in _find(file, table, kind):
        (count,) = _unpack(file, box, 4, ">I")
        if not columns:
            return count
        size = 4 * columns * count
        if size > min(box[1] - box[0] - 8, _MOST_TABLE):
            raise ValueError("a table is too short")
        file.seek(box[0] + 8)
        rows.append(np.frombuffer(file.read(size), ">u4").astype(np.int64).reshape(-1, columns))
    return np.concatenate(rows) if columns else 0
