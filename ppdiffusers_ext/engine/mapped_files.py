"""Release of memory-mapped weight files after an engine has copied them.

OpenVINO maps a network's weights and copies them into its own layout, but the pages that it has read stay in memory,
so a network would take twice its size.
"""

import contextlib
import ctypes
import mmap
import os
import threading
from collections.abc import Iterator

_MAPS = "/proc/self/maps"
_PAUSE = 0.1  # seconds, in which some hundred megabytes are read


@contextlib.contextmanager
def forgetting(path: str | os.PathLike) -> Iterator[None]:
    """Release the pages read from a mapped file, while the block runs and at its end.

    Pages that are needed again are read again. Only read-only mappings are released, so nothing is lost. Without
    effect on systems that cannot do it.
    """
    if not (os.path.exists(_MAPS) and hasattr(mmap, "MADV_DONTNEED")):
        yield
        return
    done = threading.Event()

    def work() -> None:
        while not done.wait(_PAUSE):
            forget(path)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        forget(path)


def forget(path: str | os.PathLike) -> None:
    """Release the pages read from a mapped file."""
    system = ctypes.CDLL(None)
    for start, length in _mappings(path):
        system.madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), mmap.MADV_DONTNEED)


def _mappings(path: str | os.PathLike) -> Iterator[tuple[int, int]]:
    """Start and length of the places in memory that a file is mapped to, and that cannot be written to."""
    inode = str(os.stat(path).st_ino)
    with open(_MAPS, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            addresses, permissions, _, _, number, *name = line.split(maxsplit=5)
            if number == inode and name and "w" not in permissions and os.path.basename(path) in name[0]:
                start, end = (int(address, 16) for address in addresses.split("-"))
                yield start, end - start
