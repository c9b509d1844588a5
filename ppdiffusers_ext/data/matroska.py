"""The elements of Matroska and WebM files: how many frames there are, what of them is shown (RFC 8794, RFC 9559)."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

_EBML, _SEGMENT, _CLUSTER, _TRACKS, _TRACK = 0x1A45DFA3, 0x18538067, 0x1F43B675, 0x1654AE6B, 0xAE
_SIMPLE_BLOCK, _GROUP, _BLOCK, _VOID, _CRC = 0xA3, 0xA0, 0xA1, 0xEC, 0xBF
_NUMBER, _TYPE, _IS_VIDEO, _CODEC, _VIDEO = 0xD7, 0x83, 1, 0x86, 0xE0
_CROPS = (0x54CC, 0x54BB, 0x54DD, 0x54AA)  # left, top, right, bottom
# Head, information, tracks, clusters, cues, attachments, chapters, tags.
_OF_SEGMENT = {0x114D9B74, 0x1549A966, _TRACKS, _CLUSTER, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367}
_OF_CLUSTER = {0xE7, _SIMPLE_BLOCK, _GROUP, 0xA7, 0xAB, 0x5854}
_OF_GROUP = {_BLOCK, 0x9B, 0xFB, 0x75A1, 0x75A2, 0xA4, 0xFA, 0x8E, 0xA2, 0xFD, 0xC8}
_ANYWHERE = {_VOID, _CRC}
_NUMBERS = {0xE7, 0xA7, 0xAB, 0x9B, 0xFB, 0xFA}  # of clusters and groups: of up to eight bytes


def read_track(file: Any, video_index: int) -> tuple[Any, Any]:
    """What a file says of a track: how many frames its blocks hold, and by how many pixels its picture is cropped.

    Args:
        file: opened, in bytes.
        video_index: which of the tracks of video, from 0.

    Returns:
        A number and (left, top, right, bottom); None for the number where there is no such track.

    Raises:
        ValueError: elements do not fit into each other, or are none that there are.
    """
    walk = _Walk(file)
    walk.segment()
    strange = set(walk.counts) - set(walk.tracks)
    if strange:
        raise ValueError(f"it has frames of a track {min(strange)}, which there is not")
    if video_index >= len(walk.videos):
        return None, (0, 0, 0, 0)
    number, crop = walk.videos[video_index]
    return walk.counts.get(number, 0), crop


class _Walk:
    def __init__(self, file: BinaryIO) -> None:
        self._file, self._size = file, os.fstat(file.fileno()).st_size
        self.tracks: list[int] = []
        self.videos: list[tuple[int, tuple[int, ...]]] = []
        self.counts: dict[int, int] = {}

    def segment(self) -> None:
        position = 0
        while position < self._size:
            if not self._read(position, min(4096, self._size - position)).strip(b"\0"):
                position += 4096  # nothing is behind the end but nothing is wrong
                continue
            name, start, end = self._header(position, self._size)
            if name == _SEGMENT:
                self._children(start, self._size if end is None else end, _OF_SEGMENT)
            elif name not in (_EBML, *_ANYWHERE) or end is None:
                raise ValueError(f"byte {position} begins no part of such a file")
            position = self._size if end is None else end

    def _children(self, start: int, end: int, known: set[int]) -> int:
        """Walk over the elements in a segment, in a cluster or in a group. Returns where they end."""
        position = start
        while position < end:
            name, begin, stop = self._header(position, end)
            if name in _OF_SEGMENT and known is _OF_CLUSTER:
                return position  # a cluster of unknown size ends where the next part of the segment begins
            if name not in known and name not in _ANYWHERE:
                raise ValueError(f"byte {position} begins no part of such a file")
            if stop is None:
                if name != _CLUSTER:
                    raise ValueError(f"the part at byte {position} does not say where it ends")
                stop = self._children(begin, end, _OF_CLUSTER)
            else:
                self._element(name, begin, stop, known)
            position = stop
        return position

    def _element(self, name: int, begin: int, end: int, known: set[int]) -> None:
        if end - begin > (4 if name == _CRC else 8) and name in (_CRC, *_NUMBERS):
            raise ValueError("a part of it is longer than such ones are")
        if name == _CLUSTER:
            if self._children(begin, end, _OF_CLUSTER) != end:
                raise ValueError("a part of it does not end where it says")
        elif name == _GROUP:
            self._children(begin, end, _OF_GROUP)
        elif name in (_SIMPLE_BLOCK, _BLOCK):
            self._block(begin, end)
        elif name == _TRACKS:
            self._tracks(begin, end)
        elif name == _VOID and known is not _OF_SEGMENT and self._read(begin, end - begin).strip(b"\0"):
            raise ValueError("it has something where it says that there is nothing")

    def _block(self, begin: int, end: int) -> None:
        head = self._read(begin, min(end - begin, 16))
        number, length = _vint(head, 0, keep_mark=False)
        if len(head) < length + 3:
            raise ValueError("it has a frame without pixels")
        is_laced = head[length + 2] & 0x06
        if is_laced and len(head) < length + 4:
            raise ValueError("it has a frame without pixels")
        self.counts[number] = self.counts.get(number, 0) + (head[length + 3] + 1 if is_laced else 1)

    def _tracks(self, begin: int, end: int) -> None:
        for name, start, stop in self._plain(begin, end):
            if name != _TRACK:
                continue
            parts = {inside: (inner, last) for inside, inner, last in self._plain(start, stop)}
            self.tracks.append(self._whole(parts, _NUMBER))
            if self._whole(parts, _TYPE) == _IS_VIDEO and _CODEC in parts:
                picture = {inside: where for inside, *where in self._plain(*parts.get(_VIDEO, (0, 0)))}
                self.videos.append((self.tracks[-1], tuple(self._whole(picture, side) for side in _CROPS)))

    def _whole(self, parts: Mapping[int, Sequence[int]], name: int) -> int:
        begin, end = parts.get(name, (0, 0))
        return int.from_bytes(self._read(begin, min(end - begin, 8)), "big")

    def _plain(self, begin: int, end: int) -> Iterator[tuple[int, int, int]]:
        """(name, start, end) of elements of known sizes, whatever they are."""
        while begin < end:
            name, start, stop = self._header(begin, end)
            if stop is None:
                raise ValueError(f"the part at byte {begin} does not say where it ends")
            yield name, start, stop
            begin = stop

    def _header(self, position: int, end: int) -> tuple[int, int, int | None]:
        """(name, where the content begins, where it ends) of an element; None for an end that is not said."""
        head = self._read(position, min(12, end - position))
        name, first = _vint(head, 0, keep_mark=True)
        size, second = _vint(head, first, keep_mark=False)
        start = position + first + second
        if size == (1 << (7 * second)) - 1:
            return name, start, None
        if start + size > end:
            raise ValueError(f"the part at byte {position} is cut off")
        return name, start, start + size

    def _read(self, position: int, count: int) -> bytes:
        self._file.seek(position)
        content = self._file.read(count)
        if len(content) < count:
            raise ValueError("it is cut off")
        return content


def _vint(content: bytes, start: int, keep_mark: bool) -> tuple[int, int]:
    """(value, bytes) of a number whose first bit that is set tells its length."""
    first = content[start] if start < len(content) else 0
    if not first:
        raise ValueError("it has a number of no length")
    length = 9 - first.bit_length()
    if start + length > len(content):
        raise ValueError("it is cut off")
    value = int.from_bytes(content[start : start + length], "big")
    return value if keep_mark else value - (1 << (7 * length)), length
