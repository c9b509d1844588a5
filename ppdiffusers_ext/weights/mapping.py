"""A file as memory: its bytes are read when they are looked at, and given back when they have been copied."""

import mmap
import os
from collections.abc import Sequence

import numpy as np

from ppdiffusers_ext.files import check_file


class MappedFile:
    """The bytes of a file, in `data`. They may be written to, which changes the memory and never the file.

    Raises:
        MissingFileError, InputError: there is no such file, or it is a folder, a pipe or a device.
        OSError, ValueError: it cannot be read, or is empty.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        with open(check_file(path, "weight file", "a file of tensors is accepted"), "rb") as file:
            self.size = os.fstat(file.fileno()).st_size
            if self.size == 0:
                raise ValueError("it is empty")
            self._map = mmap.mmap(file.fileno(), self.size, access=mmap.ACCESS_COPY)
        self.data = memoryview(self._map)
        self._start = np.frombuffer(self.data, np.uint8).ctypes.data

    def holds(self, array: np.ndarray) -> bool:
        """Whether a numpy array is a view of this file."""
        return self._start <= array.ctypes.data < self._start + self.size

    def forget(self) -> None:
        """Give the memory back that holds what has been read; it is read again when it is looked at again.

        What has been written to the bytes since they were read is lost. Without effect where the system has no way.
        """
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)


class MappedFiles:
    """Several `MappedFile`s as one, of the shards of a checkpoint.

    Args:
        files: the `MappedFile`s.
    """

    def __init__(self, files: Sequence) -> None:
        self._files = files

    def holds(self, array: np.ndarray) -> bool:
        """Whether a numpy array is a view of one of them."""
        return any(file.holds(array) for file in self._files)

    def forget(self) -> None:
        """As `MappedFile.forget`."""
        for file in self._files:
            file.forget()
