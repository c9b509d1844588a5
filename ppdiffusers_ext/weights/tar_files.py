"""Reads tar files, compressed by gzip or not, in one pass: what each member is, and its bytes.

Python's `tarfile` believes what headers say: of their own length, of numbers of a million digits, of maps of holes.
Here a header is 512 bytes; what may stand before it, a long name in GNU's or in POSIX's way (pax), is bounded, and of
that only names and sizes are read.
"""

import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from ppdiffusers_ext.errors import printable

_BLOCK = 512
_READ_BYTES = 1 << 16
_MOST_STREAMS = 1000  # that gzip files may be joined of
_MOST_BEFORE = 8  # headers of a member, before its own
_MOST_HEADER = 1 << 16  # bytes of one of them
_MOST_HEADERS = 1 << 20  # of all together, and _HEADERS_OF_MEMBER more for each member
_HEADERS_OF_MEMBER = 2048
_MOST_DIGITS = 20
_MOST_BEHIND = 1 << 20  # zeros that fill the file up

_FILES, _FOLDER = (b"0", b"\0", b"7"), b"5"
_GNU_NAME, _GNU_LINK, _PAX, _PAX_OF_ALL = b"L", b"K", (b"x", b"X"), b"g"
_KINDS = {b"2": "a symbolic link", b"1": "a hard link", b"S": "a sparse file"}
_SPECIAL = "a device, a pipe or another special file"


class Member:
    """A member of a tar file.

    Attributes:
        name: as it stands there.
        size: in bytes.
        is_folder: whether it is one.
        refused: what else than a plain file or a folder it is, in words, or None.
    """

    def __init__(self, name: str, size: int, kind: bytes, stream: Any) -> None:
        self.name, self.size, self._stream, self._left = name, size, stream, size
        self.is_folder = kind == _FOLDER or (kind == b"\0" and name.endswith("/"))
        self.refused = None if self.is_folder or kind in _FILES else _KINDS.get(kind, _SPECIAL)

    def read(self, count: int) -> bytes:
        """The next bytes of its content, at most `count`; none at its end."""
        data = self._stream.take(min(count, self._left, _READ_BYTES))
        self._left -= len(data)
        return data

    def skip(self) -> None:
        """Go to the member behind."""
        if not self.is_folder and self.refused is None:
            while self._left:
                self.read(self._left)
            self._stream.take(-self.size % _BLOCK)


def members(file: Any) -> Iterator[Member]:
    """Yields each `Member` of an open tar or tar.gz file, whose content is to be read before the next one's.

    Raises ValueError, zlib.error where the file is damaged, or headers are beyond all bounds.
    """
    stream = _Unzipped(file) if file.peek(2)[:2] == b"\x1f\x8b" else _Plain(file)
    headers = _Headers(stream)
    while (member := headers.next()) is not None:
        yield member
        member.skip()
    if stream.take(_MOST_BEHIND + 1, or_less=True).strip(b"\0") or not stream.is_over:
        raise ValueError("it is cut off, or goes on behind its end")


class _Plain:
    """The bytes of a file, one after the other."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._held, self.is_over = file, b"", False

    def take(self, count: int, or_less: bool = False) -> bytes:
        """The next `count` bytes. Raises ValueError where there are not so many, unless fewer will do."""
        parts, missing = [self._held[:count]], count - len(self._held)
        self._held = self._held[count:]
        while missing > 0 and (more := self._more()):
            parts.append(more[:missing])
            self._held = more[missing:]
            missing -= len(parts[-1])
        if missing > 0:
            self.is_over = True
            if not or_less:
                raise ValueError("it is cut off")
        return b"".join(parts)

    def _more(self) -> bytes:
        return self._file.read(_READ_BYTES)


class _Unzipped(_Plain):
    """The same of a file that is compressed by gzip."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self._streams, self._packed = 0, b""
        self._zip: Any = None  # zlib's object of the stream that is being read

    def _more(self) -> bytes:
        while self._zip is not None or self._begin():
            data = self._zip.decompress(self._packed, _READ_BYTES)
            if self._zip.eof:
                self._packed, self._zip = self._zip.unused_data, None
            else:
                self._packed = self._zip.unconsumed_tail
            if data:
                return data
            if self._zip is not None and not self._packed and not self._read():
                raise ValueError("it is cut off")
        return b""

    def _begin(self) -> bool:
        """Whether there is one more stream, of those that a file may be joined of. Zeros may fill the file up."""
        while True:
            self._packed = self._packed.lstrip(b"\0") if self._streams else self._packed
            if self._packed:
                break
            if not self._read():
                return False
        self._streams += 1
        if self._streams > _MOST_STREAMS:
            raise ValueError(f"it is joined of more than {_MOST_STREAMS} files")
        self._zip = zlib.decompressobj(16 + zlib.MAX_WBITS)  # a stream with gzip's header and checksum
        return True

    def _read(self) -> bool:
        self._packed = self._file.read(_READ_BYTES)
        return bool(self._packed)


class _Headers:
    """The headers of a tar file, each with what stands before it."""

    def __init__(self, stream: _Plain) -> None:
        self._stream, self._bytes, self._members = stream, 0, 0

    def next(self) -> Member | None:
        """The next `Member`, or None at the end."""
        more: dict = {}
        for _ in range(_MOST_BEFORE):
            block = self._stream.take(_BLOCK)
            if not block.strip(b"\0"):
                if more:
                    raise ValueError("it ends within a header")
                return None
            _check_sum(block)
            kind, size = block[156:157], _number(block[124:136])
            if kind in (_GNU_NAME, _GNU_LINK):
                text = self._content(size).partition(b"\0")[0]
                more |= {"path": text} if kind == _GNU_NAME else {}
            elif kind in _PAX or kind == _PAX_OF_ALL:
                more |= _records(self._content(size), of_all=kind == _PAX_OF_ALL)
            else:
                self._members += 1
                size = _digits(more["size"]) if "size" in more else size
                name = more.get("path", _name(block)).decode("utf-8", "surrogateescape")
                return Member(name, size, b"S" if "sparse" in more else kind, self._stream)
        raise ValueError(f"a member with more than {_MOST_BEFORE} headers")

    def _content(self, size: int) -> bytes:
        self._bytes += _BLOCK + size
        if size > _MOST_HEADER or self._bytes > _MOST_HEADERS + _HEADERS_OF_MEMBER * self._members:
            raise ValueError(f"a header of {size} bytes, more than there is use for")
        content = self._stream.take(size)
        self._stream.take(-size % _BLOCK)
        return content


def _check_sum(block: bytes) -> None:
    total = _number(block[148:156])
    rest = block[:148] + b" " * 8 + block[156:]
    signed = sum(rest) - 256 * sum(byte > 127 for byte in rest)  # as some old programs count
    if total not in (sum(rest), signed):
        raise ValueError("the checksum of a header is wrong")


def _number(field: bytes) -> int:
    if field[0] & 0x80:  # GNU's way of large ones
        if field[0] != 0x80 or any(field[1:-8]):
            raise ValueError("a size that is none")
        return int.from_bytes(field[-8:], "big")
    text = field.partition(b"\0")[0].strip(b" ")
    if not all(digit in b"01234567" for digit in text):
        raise ValueError("a size that is none")
    return int(text or b"0", 8)


def _name(block: bytes) -> bytes:
    name, prefix = block[:100].partition(b"\0")[0], block[345:500].partition(b"\0")[0]
    is_posix = block[257:263] == b"ustar\0"  # others have something else there
    return prefix + b"/" + name if prefix and is_posix else name


def _records(content: bytes, of_all: bool) -> dict[str, Any]:
    """What POSIX's header says of path, size and holes: records of "LENGTH KEY=VALUE\\n"."""
    found: dict = {}
    at = 0
    content = content.rstrip(b"\0")
    while at < len(content):
        length, space, _ = content[at : at + _MOST_DIGITS].partition(b" ")
        record = content[at : at + _digits(length)] if space else b""
        key, equals, value = record[len(length) + 1 : -1].partition(b"=")
        if not equals or len(record) != int(length) or record[-1:] != b"\n":
            raise ValueError("a header with records that do not fit")
        if key.startswith(b"GNU.sparse."):
            found["sparse"] = True
        elif key in (b"path", b"size"):
            found[key.decode()] = value
        if of_all and found:
            raise ValueError(f"a header that gives all members one {printable(key.decode('latin1'), 40)}")
        at += len(record)
    return found


def _digits(text: bytes) -> int:
    if not 0 < len(text) < _MOST_DIGITS or not text.isdigit():
        raise ValueError("a number in a header that is none")
    return int(text)
