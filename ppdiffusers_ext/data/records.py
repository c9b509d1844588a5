"""Records of what results were made of, in one hidden file of the folder in which they lie.

Each line of the file `RECORDS` tells of one result: its name, the SHA-256 of its content, and what it was made of. The
line is written before the result gets its name. So it says nothing of a result that was never completed, or that
somebody has changed or put in its place since: these have another content.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import logging
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ppdiffusers_ext.data.holding import LOCK
from ppdiffusers_ext.errors import InputError, printable, shown, shown_path
from ppdiffusers_ext.files import parse_json, read_bytes
from ppdiffusers_ext.packaged import located

logger = logging.getLogger(__name__)

RECORDS = ".made_of.jsonl"
_MOST = 256 << 20  # bytes of such a file: about a million results
_BLOCK = 1 << 20
_OF_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


@dataclass(frozen=True)
class Made:
    """What a result is made of.

    Attributes:
        command: name of the command, "extract_frames".
        inputs: what the user calls an input, such as its option -> the digest of its content; see `digest`.
        options: name of each option that changes the result -> its value; what JSON cannot write becomes its text.
    """

    command: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        plain = {name: value if _is_plain(value) else str(value) for name, value in self.options.items()}
        object.__setattr__(self, "options", plain)

    def differences(self, other: "Made") -> list[str]:
        """Words for each thing in which this one, recorded earlier, differs from what would be made now."""
        if self.command != other.command:
            return [f"it was made by {printable(self.command, 60)}"]
        inputs = [
            f"{printable(name, 60)} has another content"
            for name in {**self.inputs, **other.inputs}
            if self.inputs.get(name) != other.inputs.get(name)
        ]
        options = [
            f"{printable(name, 60)} was {shown(self.options.get(name))} and is {shown(other.options.get(name))}"
            for name in {**self.options, **other.options}
            if self.options.get(name) != other.options.get(name)
        ]
        return inputs + options


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (str, int, float))


def digest(path: str | os.PathLike, names: Iterable[str] | None = None) -> str:
    """The SHA-256 of a file's content; of a folder that of its files' names and contents, without hidden ones.

    Args:
        path: of the file or folder.
        names: files of the folder that count; all below it if left out.
    """
    path = located(path)
    if not os.path.isdir(path):
        return _digest_of_file(path)
    names = [name for name in files_below(path) if not _is_hidden(name)] if names is None else names
    parts = [f"{name}\0{_digest_of_file(Path(path) / name)}" for name in names]
    return hashlib.sha256(os.fsencode("\n".join(parts))).hexdigest()


def digest_of(values: Any) -> str:
    """The SHA-256 of values as JSON writes them, where they are what a result is made of."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def _digest_of_file(path: str | os.PathLike) -> str:
    content = hashlib.sha256()
    # A pipe would be waited for, and a device has no end.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise InputError(f"{shown_path(path)} is a pipe, a device or another special file; a file is accepted")
        while block := file.read(_BLOCK):
            content.update(block)
    return content.hexdigest()


def files_below(folder: str | os.PathLike) -> list[str]:
    """Paths, relative to a folder and sorted, of all files below it but the records, and what holds outputs."""
    own = (RECORDS, LOCK)
    found = [Path(place) / name for place, _, files in os.walk(os.fspath(folder)) for name in files if name not in own]
    return sorted(str(path.relative_to(folder)) for path in found)


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in Path(name).parts)


class Records:
    """The records in a folder.

    Args:
        folder: it need not be there.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        self._folder = Path(folder)
        self._lines: dict[str, dict[str, Made]] = {}  # name of a result -> digest of its content -> what it is made of
        for line in _read_lines(self._folder / RECORDS):
            with contextlib.suppress(ValueError, TypeError, KeyError):  # a line that was cut, or damaged
                values = parse_json(line, "record", "")
                made = Made(values["command"], dict(values["inputs"]), dict(values["options"]))
                self._lines.setdefault(str(values["file"]), {})[str(values["sha256"])] = made

    def of(self, name: str) -> Made | None:
        """What a result of the folder is made of; None where there is no record, or one of another content."""
        known = self._lines.get(_as_text(name))
        return known.get(_digest_of_file(self._folder / name)) if known else None

    def lacking(self, names: Iterable[str]) -> list[str]:
        """Names, as texts, of results that have a record and are not among these."""
        return sorted(set(self._lines) - set(map(_as_text, names)))


def _as_text(name: str) -> str:
    """A name without bytes that are no UTF-8, which JSON cannot write."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _read_lines(path: Path) -> list[str]:
    if not os.path.lexists(path):
        return []
    try:
        content = read_bytes(path, "records", "the file that commands write is accepted", _MOST)
    except InputError as error:
        logger.warning("%s: files beside it count as a user's own", error)
        return []
    return content.decode("utf-8", "replace").splitlines()


def record(folder: Path, made: Mapping[str, tuple[Path, Made]]) -> None:
    """Add records to a folder's.

    Where they cannot be written for another reason than a full disk the results have none, which is said.

    Args:
        folder: `Path`.
        made: name of a result in it -> a file of the same content, and what it is made of.
    """
    lines = [
        {"file": _as_text(name), "sha256": _digest_of_file(content), "command": of.command, "inputs": of.inputs,
         "options": of.options}
        for name, (content, of) in made.items()
    ]  # fmt: skip
    text = "".join(json.dumps(line) + "\n" for line in lines).encode()
    try:
        descriptor = os.open(
            folder / RECORDS, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666
        )
        with open(descriptor, "ab") as file:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            file.write(text if _ends_with_line(folder / RECORDS) else b"\n" + text)
    except OSError as error:
        if error.errno in _OF_DISK:
            raise
        logger.warning("%s cannot be written (%s): --skip-existing will take what is made now for a user's own file",
                       shown_path(folder / RECORDS), error.strerror or error)  # fmt: skip


def _ends_with_line(path: Path) -> bool:
    """Whether a line begins where a file ends: it is empty, or its last writer was not killed within a line."""
    with open(path, "rb") as file:
        if not file.seek(0, os.SEEK_END):
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
