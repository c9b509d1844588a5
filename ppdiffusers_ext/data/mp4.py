"""The boxes of MP4 and MOV files, as far as they say how many frames there are (ISO/IEC 14496-12)."""

import os
import struct

import numpy as np

_MOST_TABLE = 1 << 28  # bytes


def count_samples(file, track):
    """How many frames the tables of a track promise, those of fragments included; None where there is no such track.

    Args:
        file: opened, in bytes.
        track: its number.

    Raises:
        ValueError: boxes do not fit into each other, or tables contradict each other.
    """
    everything, count, is_found = (0, os.fstat(file.fileno()).st_size), 0, False
    for box in _find(file, everything, b"moov", b"trak"):
        if _number(file, box) == track:
            is_found = True
            for table in _find(file, box, b"mdia", b"minf", b"stbl"):
                count += _samples(file, table)
    for box in _find(file, everything, b"moof", b"traf"):
        for head in _find(file, box, b"tfhd"):
            if _unpack(file, head, 4, ">I") == (track,):
                count += sum(_unpack(file, run, 4, ">I")[0] for run in _find(file, box, b"trun"))
    return count if is_found else None


def _find(file, within, *kinds):
    """(begin, end) of the contents of all boxes of a kind within others, as `_find(file, box, b"moov", b"trak")`."""
    begin, end = within
    while end - begin >= 8:
        size, kind = _unpack(file, (begin, end), 0, ">I4s")
        head = 8
        if size == 1:
            (size,), head = _unpack(file, (begin, end), 8, ">Q"), 16
        stop = end if size == 0 else begin + size
        if stop < begin + head or stop > end:
            raise ValueError(f"the part at byte {begin} is cut off")
        if kind == kinds[0]:
            inner = begin + head, stop
            yield from _find(file, inner, *kinds[1:]) if len(kinds) > 1 else (inner,)
        begin = stop


def _unpack(file, box, offset, layout):
    begin, size = box[0] + offset, struct.calcsize(layout)
    if begin + size > box[1]:
        raise ValueError("a table is too short")
    file.seek(begin)
    content = file.read(size)
    if len(content) < size:
        raise ValueError("it is cut off")
    return struct.unpack(layout, content)


def _number(file, track):
    for head in _find(file, track, b"tkhd"):
        (version,) = _unpack(file, head, 0, ">B")
        return _unpack(file, head, 20 if version else 12, ">I")[0]
    return None


def _samples(file, table):
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


def _rows(file, table, kind, columns):
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
