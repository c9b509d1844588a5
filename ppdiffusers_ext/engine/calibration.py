"""Recording of the inputs that a function of a network is called with, for exports in int8."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import xxhash

from ppdiffusers_ext.data.outputs import moved_by, output_file, scratch_folder

_MOST = 12  # samples of a function with inputs of one set of shapes

Arrays = Mapping[str, np.ndarray]


class NotCalibrated(Exception):
    """An export in int8 is missing, and the inputs that it is made for have not been recorded."""


class Calibration:
    """Inputs of calls, in files of a temporary folder.

    Args:
        folder: of the cache, in which the temporary one is made.

    Attributes:
        awaits: True while a missing export is to raise `NotCalibrated`, since a rehearsal will record its inputs.
        records: True while calls are recorded.
    """

    def __init__(self, folder: Path) -> None:
        self._place, self._folder = folder / "samples", folder
        self.awaits = self.records = False
        self._samples: dict[str, Samples] = {}

    @contextlib.contextmanager
    def awaited(self) -> Iterator[None]:
        """Within it, a missing export raises `NotCalibrated` until there has been a rehearsal."""
        with moved_by("--engine-cache"), scratch_folder(self._place) as self._folder:
            self.awaits = True
            try:
                yield
            finally:
                self.awaits = False
                self._samples.clear()

    @contextlib.contextmanager
    def rehearsal(self) -> Iterator[None]:
        """Within it, calls are recorded."""
        self.awaits, self.records = False, True
        try:
            yield
        finally:
            self.records = False

    def add(self, function: str, arrays: Arrays) -> None:
        """Record the inputs of a call of a function with shapes."""
        self._samples.setdefault(function, Samples(self._folder)).add(arrays)

    def take(self, function: str) -> list[Arrays]:
        """What was recorded of a function, in the order of the calls; forgets it."""
        samples = self._samples.pop(function, None)
        return [] if samples is None else samples.read()


class Samples:
    """Inputs of some of the calls of a function, evenly spread over all of them.

    Args:
        folder: for files; equal arrays share one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._stride, self._count = folder, 1, 0
        self._kept: list[dict[str, Path]] = []

    def add(self, arrays: Arrays) -> None:
        """A call; it is kept if its number is one of those that are spread evenly."""
        if self._count % self._stride == 0:
            self._kept.append({name: self._write(array) for name, array in arrays.items()})
        self._count += 1
        if len(self._kept) > _MOST:  # by an odd number, since calls often alternate between two kinds
            self._kept, self._stride = self._kept[::3], self._stride * 3

    def read(self) -> list[Arrays]:
        """The kept calls, whose arrays are mapped from their files."""
        return [{name: np.load(path, mmap_mode="r") for name, path in sample.items()} for sample in self._kept]

    def _write(self, array: np.ndarray) -> Path:
        digest = xxhash.xxh3_128(f"{array.dtype} {array.shape}".encode())
        digest.update(array.data)
        path = self._folder / f"{digest.hexdigest()}.npy"
        if not path.exists():
            with output_file(path) as temporary:
                np.save(temporary, array)
        return path
