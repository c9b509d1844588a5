"""Outputs are held by the process that makes them, so that two runs at once never replace each other's results.

The folder of an output has a hidden file `LOCK` while a run writes into it. A byte of that file stands for each name,
and the process that makes it has a lock on that byte; the system gives the lock back when the process ends, however
it ends. The last run that leaves removes the file.
"""

import contextlib
import contextvars
import fcntl
import hashlib
import os
import resource
import stat
import struct
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

LOCK = ".outputs.lock"

_MOST_NAMES = 256  # of a folder that are held one by one; with more, or with a sequence, it is held as a whole
_PRESENCE, _FIRST, _NAMES = 0, 1, 1 << 60  # byte that each run shares; the first one of names; how many there may be
_FLOCK = "hhqqi0q"  # struct flock of Linux with 64 bits

_locks: dict[tuple[int, int, int], "_Lock"] = {}  # number of the process, device and number of the folder -> its lock
_guard = threading.RLock()
_scope: contextvars.ContextVar = contextvars.ContextVar("scope", default=None)


class Busy(Exception):
    """Another process makes an output.

    Args:
        path: of the output, or of its folder where that is held as a whole.
        process: its number, 0 where that is not known.
    """

    def __init__(self, path: Path, process: int) -> None:
        super().__init__(f"{path} is being written")
        self.path, self.process = path, process


@contextlib.contextmanager
def releasing() -> Iterator[None]:
    """Holds that begin within it last until its end."""
    holds: list[Hold] = []
    token = _scope.set(holds)
    try:
        yield
    finally:
        _scope.reset(token)
        for hold in reversed(holds):
            hold.release()


class Hold:
    """Outputs that this process holds, until `release`, or until nobody has the hold any more; see `releasing`.

    A process may hold an output twice.
    """

    def __init__(self) -> None:
        self._undo = contextlib.ExitStack()
        if (scope := _scope.get()) is not None:
            scope.append(self)
        self.release = weakref.finalize(self, _release, self._undo, os.getpid())

    def add(self, targets: Iterable[Path], is_sequence: bool, make_folder: Callable[[Path, Any], object]) -> None:
        """Hold outputs. A folder in which nothing can be locked is passed over: writing tells what is wrong with it.

        So are folders beyond a quarter of the files that the process may open.

        Args:
            targets: real paths.
            is_sequence: they are one sequence, of which a run makes as many as it needs: the folder is held.
            make_folder: makes a folder that is missing, and has an `ExitStack` undo that.

        Raises:
            Busy: another process holds one.
        """
        folders: dict[Path, list[str | None]] = {}
        for target in targets:
            folders.setdefault(target.parent, []).append(target.name)
        for folder, names in folders.items():
            with _guard, contextlib.suppress(OSError):
                make_folder(folder, self._undo)
                _hold(folder, [None] if is_sequence or len(names) > _MOST_NAMES else names, self._undo)


def _release(undo: contextlib.ExitStack, process: int) -> None:
    if os.getpid() == process:  # a fork holds nothing
        with _guard:
            undo.close()


def _hold(folder: Path, names: Iterable[str | None], undo: contextlib.ExitStack) -> None:
    """Hold names of a folder, None for all that are possible, until `undo` is closed. Raises Busy, OSError."""
    key = _key_of(folder)
    if key not in _locks and len(_locks) >= _most_folders():
        return  # passed over, or the run could open no files any more
    lock = _locks.get(key) or _locks.setdefault(key, _Lock(folder))
    undo.callback(_close_unused, key)
    for name in names:
        lock.add(name)
        undo.callback(lock.remove, name)


def _most_folders() -> int:
    """How many folders may be held: each takes one of the files that the process may open."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 1024 if limit == resource.RLIM_INFINITY else limit // 4


def _key_of(folder: Path) -> tuple[int, int, int]:
    status = os.stat(folder)
    return os.getpid(), status.st_dev, status.st_ino


def _close_unused(key: tuple[int, int, int]) -> None:
    if (lock := _locks.get(key)) is not None and not lock.names:
        del _locks[key]
        lock.close()


class _Lock:
    """The lock file of a folder, opened once in a process: the system drops all locks when one opening is closed.

    Attributes:
        names: names that are held -> how many times.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self.names = folder, Counter[str | None]()
        while True:
            self._file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
            with contextlib.suppress(OSError):
                fcntl.lockf(self._file, fcntl.LOCK_SH, 1, _PRESENCE)
            if self._is_in_place():  # else the run that had it has removed it meanwhile
                return
            os.close(self._file)

    def _is_in_place(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._file), os.lstat(self._folder / LOCK))
        except FileNotFoundError:
            return False

    def _is_a_lock(self) -> bool:
        """False for somebody's file of this name, which has content, or is no file."""
        status = os.fstat(self._file)
        return stat.S_ISREG(status.st_mode) and not status.st_size

    def add(self, name: str | None) -> None:
        """Hold a name. Raises Busy."""
        if not self.names[name]:
            try:
                self._lock(name)
            except (BlockingIOError, PermissionError) as error:
                path = self._folder if name is None else self._folder / name
                raise Busy(path, self._holder(name)) from error
            except OSError:  # a file system without locks
                pass
        self.names[name] += 1

    def remove(self, name: str | None) -> None:
        """Give up a name that was added."""
        self.names[name] -= 1
        self.names = +self.names
        if self.names[name] or self.names[None]:
            return
        with contextlib.suppress(OSError):
            start, length = _range_of(name)
            fcntl.lockf(self._file, fcntl.LOCK_UN, length, start)
            for other in self.names if name is None else ():  # their bytes were unlocked, too
                self._lock(other)

    def _lock(self, name: str | None) -> None:
        start, length = _range_of(name)
        fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, length, start)

    def _holder(self, name: str | None) -> int:
        """The process that holds a name; 0 if that is not known, as of another machine."""
        start, length = _range_of(name)
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, start, length, 0)
        try:
            return max(0, struct.unpack(_FLOCK, fcntl.fcntl(self._file, fcntl.F_GETLK, asked))[4])
        except (OSError, struct.error):
            return 0

    def close(self) -> None:
        """Remove the file, if no other run has it open, and close it."""
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _PRESENCE)
            is_shared = False
        except OSError as error:
            is_shared = isinstance(error, (BlockingIOError, PermissionError))
        with contextlib.suppress(OSError):
            if not is_shared and self._is_in_place() and self._is_a_lock():
                os.unlink(self._folder / LOCK)
        os.close(self._file)


def _range_of(name: str | None) -> tuple[int, int]:
    """(first byte, number of bytes) that stand for a name, or for all names."""
    if name is None:
        return _FIRST, _NAMES
    return _FIRST + int.from_bytes(hashlib.sha256(os.fsencode(name)).digest()[:8], "big") % _NAMES, 1


def remove_stale(folder: Path) -> None:
    """Remove the lock file that a run which was killed has left in a folder."""
    with _guard, contextlib.suppress(OSError):
        if os.path.lexists(folder / LOCK) and _key_of(folder) not in _locks:
            _Lock(folder).close()
