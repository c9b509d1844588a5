"""What file systems are asked for: that data are on the disk, and that two folders take each other's place."""

import contextlib
import ctypes
import os
from pathlib import Path

_HERE, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux
_READ_WRITE = 0o666


def flush(path: Path, mode: int = 0) -> None:
    """Have the data on the disk before the name, or a power cut could leave an empty file under the final name.

    mode: of a file or folder that was made as the umask says; who may read or write that may do so with this file.
        Some writers, as safetensors', make files that are private to the user.
    """
    descriptor = os.open(path, os.O_RDWR)
    try:
        own = os.fstat(descriptor).st_mode
        if wanted := mode & _READ_WRITE & ~own:
            with contextlib.suppress(PermissionError):  # a file system without modes
                os.fchmod(descriptor, own | wanted)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def exchange(one: Path, other: Path, aside: str) -> None:
    """Let two folders take each other's place, at once where the file system can.

    aside: name beside the second that it has for a moment where it cannot.
    """
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None or rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE):
        between = other.with_name(aside)
        os.rename(other, between)
        os.rename(one, other)
        os.rename(between, one)
