"""One download into a folder at a time."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from ppdiffusers_ext.errors import InputError

_logger = logging.getLogger("ppdiffusers_ext.weights.download")

LOCK = ".lock"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Have the folder to this process. The system gives the lock back when the process dies."""
    from filelock import FileLock, Timeout

    if folder.is_file():
        raise InputError(f"cannot write into {folder}: it is a file; a folder that can be written is accepted")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            _logger.info("another download into %s is under way; waiting for its end", folder)
            lock.acquire()
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"cannot write into {folder}: {reason}; a folder that can be written is accepted") from error
    try:
        yield
    finally:
        lock.release()
