"""Temporary files and folders that a process which was killed (SIGKILL, a power cut) has left, and their removal.

A process holds a lock on what it writes. So what it has left can be told from what another one is writing, and is
removed when the next one begins to write into the same folder.
"""

import atexit
import contextlib
import fcntl
import hashlib
import logging
import os
import platform
import re
import shutil
import stat
from pathlib import Path

from ppdiffusers_ext.data.holding import remove_stale
from ppdiffusers_ext.errors import printable

logger = logging.getLogger(__name__)

HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:6]  # locks of other machines may not be seen
_LEFTOVER = re.compile(rf"\..*\.{HOST}-[0-9a-f]{{8}}\.part(?:\..*)?", re.DOTALL)

swept: set[str] = set()  # folders in which this process has looked for leftovers
claimed: dict[Path, int] = {}  # temporary files and folders that may be there -> number of the process that made them


def remove_leftovers(folder: str | os.PathLike) -> None:
    """Remove what processes of this machine that were killed have left in a folder; looks once in each."""
    if str(folder) in swept:
        return
    swept.add(str(folder))
    remove_stale(Path(folder))
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            if _LEFTOVER.fullmatch(name) and _remove_unlocked(Path(folder) / name):
                logger.warning("removed %s, left by a run that was killed", printable(Path(folder) / name))


def _remove_unlocked(path: Path) -> bool:
    """Remove a file or a folder that no process holds. Returns whether it was."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove(path)
        return not os.path.lexists(path)
    except OSError:
        return False
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a temporary file or folder, if it is there."""
    try:
        kind = stat.S_IFMT(os.lstat(path).st_mode)
    except OSError:
        kind = None
    if kind == stat.S_IFDIR:
        shutil.rmtree(path, ignore_errors=True)
    elif kind == stat.S_IFREG:
        os.unlink(path)
    claimed.pop(path, None)


@atexit.register
def _remove_claimed() -> None:
    """Remove what a signal that came while something was removed, or was about to be, has left."""
    for path, process in list(claimed.items()):
        if process == os.getpid():
            with contextlib.suppress(OSError):
                remove(path)
