"""What is there of a file that is not complete: a part beside its place, and a note by which the part is believed.

The first line of the note says which version at which address the part is of, and how long the whole is. Each further
line says how many bytes had come at some moment, and their sha256. A part is continued only from a length at which its
bytes still have the noted hash: those that a crash has lost or made zeros, that somebody changed or added, or that are
of another file, are fetched again.
"""

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ppdiffusers_ext.errors import InputError

_STEP_BYTES = 2**18  # between two lines of the note
_READ_BYTES = 2**20
_MOST_NOTE_BYTES = 2**26  # of a file of 230 GB


def part_of(target: Path) -> Path:
    """Where the data of a file lies until it is complete: beside it."""
    return target.with_name(f".{target.name}.part")


def note_of(part: Path) -> Path:
    """The note of a part: beside it."""
    return part.with_name(f"{part.name}.json")


def remove_part(part: Path) -> None:
    """Remove a part and its note, as far as they are there."""
    part.unlink(missing_ok=True)
    note_of(part).unlink(missing_ok=True)


class Part:
    """A part, open for more.

    Attributes:
        have: bytes of it that are believed.
        url, version, size: of the file it is of, as the note says; "" and None where it does not.
    """

    def __init__(self, path: Path, advance: Callable[[int], object]) -> None:
        """`advance` is called with the number of bytes that came (negative where they were thrown away)."""
        self.path, self._advance = path, advance
        self.have, self.url, self.version = 0, "", ""
        self.size: int | None = None
        self._digest, self._noted = hashlib.sha256(), 0
        self._file: Any = None

    @property
    def sha256(self) -> str:
        """Of the bytes that are believed, as 64 hexadecimal digits."""
        return self._digest.hexdigest()

    def restore(self, without_note: bool = False) -> None:
        """Take over what an earlier run has left, as far as it is believed, and cut off the rest.

        without_note: believe all of a part that has no note: its hash will be compared in the end.
        """
        self._drop_what_is_no_file()
        head, marks = _read_note(note_of(self.path))
        if not self.path.exists() or (head is None and not without_note):
            return self.discard()
        if head is not None:
            self.url, self.version, self.size = head["url"], head["version"], head["size"]
        good, digest = self._believed(marks) if head is not None else self._all()
        if good == 0:
            return self.discard()
        os.truncate(self.path, good)
        if head is not None:
            # A line that was cut off, or that is not believed, would hide those that follow.
            lines = [json.dumps(head), *(f"{length} {sha256}" for length, sha256 in marks if length <= good)]
            note_of(self.path).write_text("\n".join([*lines, ""]), encoding="utf-8")
        self._digest, self._noted = digest, good
        return self._count(good)

    def _drop_what_is_no_file(self) -> None:
        """Remove a link, a pipe or a device in the place of the part or the note, which nobody of us has put there."""
        for path in (self.path, note_of(self.path)):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                mode = os.lstat(path).st_mode
                if stat.S_ISDIR(mode):
                    raise InputError(f"{path} is a folder; remove it to have the file fetched")
                if not stat.S_ISREG(mode):
                    os.unlink(path)

    def _believed(self, marks: Sequence[tuple[int, str]]) -> "tuple[int, hashlib._Hash]":
        """The greatest length at which the part has the noted hash, and the state of the hash there."""
        digest, read, good, state = hashlib.sha256(), 0, 0, hashlib.sha256()
        with open(self.path, "rb") as file:
            for length, sha256 in marks:
                while read < length and (block := file.read(min(_READ_BYTES, length - read))):
                    digest.update(block)
                    read += len(block)
                if read != length or digest.hexdigest() != sha256:
                    break
                good, state = length, digest.copy()
        return good, state

    def _all(self) -> "tuple[int, hashlib._Hash]":
        digest, read = hashlib.sha256(), 0
        with open(self.path, "rb") as file:
            while block := file.read(_READ_BYTES):
                digest.update(block)
                read += len(block)
        return read, digest

    def begin(self, url: str, version: str, size: int | None) -> None:
        """Start anew, with a note of what is to come."""
        self.discard()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.touch()
        self.url, self.version, self.size = url, version, size
        head = json.dumps({"url": url, "version": version, "size": size})
        note_of(self.path).write_text(f"{head}\n", encoding="utf-8")

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """While this is entered, `append` may be called. What has come is noted in the end, whatever ends it."""
        with open(self.path, "ab", buffering=0) as self._file:
            try:
                yield
            finally:
                # A disk that is full, say, has no room for a note either: then less is believed the next time.
                with contextlib.suppress(OSError):
                    self._note()

    def append(self, data: bytes) -> None:
        """Add bytes. Raises OSError where the disk does not take them."""
        rest = memoryview(data)
        while rest:
            taken = self._file.write(rest)
            self._digest.update(rest[:taken])
            self._count(self.have + taken)
            rest = rest[taken:]
        if self.have - self._noted >= _STEP_BYTES:
            self._note()

    def _note(self) -> None:
        if self.have > self._noted and self.url:
            with open(note_of(self.path), "ab") as file:
                file.write(f"{self.have} {self.sha256}\n".encode())
            self._noted = self.have

    def last(self, count: int) -> bytes:
        """The last bytes, as many as `count` or as there are."""
        with open(self.path, "rb") as file:
            file.seek(max(0, self.have - count))
            return file.read(count)

    def start(self, count: int) -> bytes:
        """The first bytes, as many as `count` or as there are."""
        with open(self.path, "rb") as file:
            return file.read(count)

    def discard(self) -> None:
        """Remove the part and its note."""
        remove_part(self.path)
        self.url, self.version, self.size = "", "", None
        self._digest, self._noted = hashlib.sha256(), 0
        self._count(0)

    def _count(self, have: int) -> None:
        change, self.have = have - self.have, have
        if change:
            self._advance(change)


def noted_sha256(part: Path, size: int) -> str | None:
    """The sha256 that the note of a part gives to its first `size` bytes, or None."""
    _, marks = _read_note(note_of(part))
    return dict(marks).get(size)


def _read_note(path: Path) -> tuple[dict[str, Any] | None, list[tuple[int, str]]]:
    """The first line of a note, or None where it is not as we write it; and [(bytes, sha256)] in rising order."""
    try:
        with open(path, "rb") as file:
            first, *lines = file.read(_MOST_NOTE_BYTES).split(b"\n")
        head = json.loads(first)
        size = head["size"]
        texts = isinstance(head["url"], str) and head["url"] != "" and isinstance(head["version"], str)
        if not texts or not (size is None or (type(size) is int and size >= 0)):
            return None, []
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None, []
    marks: list = []
    for line in lines:
        length, _, sha256 = line.decode("latin-1").partition(" ")
        # A line that was cut off by a kill ends the list.
        if len(sha256) != 64 or not (length.isascii() and length.isdecimal()) or len(length) > 18:
            break
        if int(length) <= (marks[-1][0] if marks else 0):
            break
        marks.append((int(length), sha256))
    return head, marks


def sync(path: str | os.PathLike) -> None:
    """Have the disk keep a file, or the names in a folder. What cannot be synced (on a network, say) is left."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
