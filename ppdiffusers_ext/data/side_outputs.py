"""What is written beside a result. Where that fails the result is kept, and the failure is told when it is whole."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppdiffusers_ext.data.outputs import OutputError
from ppdiffusers_ext.data.video_writer import VideoWriter
from ppdiffusers_ext.errors import InputError

if TYPE_CHECKING:
    import numpy as np


class SideOutputError(InputError):
    """A result is complete, but what was to lie beside it is not."""


def keep(write: Callable[[Any], object], target: str | os.PathLike) -> Any:
    """Write a result; where its place fails, into the system's temporary folder.

    Args:
        write: called with the path of the result, writes it and what lies beside it; more than once if need be.
        target: path.

    Returns:
        What `write` returns.

    Raises:
        OutputError: it could not be written to its place; says where it was kept, if it was.
        SideOutputError: what `write` raises, which is no reason to write again; as anything else.
    """
    try:
        return write(target)
    except OutputError as error:
        try:
            rescued = Path(tempfile.mkdtemp(prefix="ppdiffusers_ext-")) / Path(target).name
        except OSError:  # there is no temporary folder either
            raise error from None
        with contextlib.suppress(Exception):
            write(rescued)
        if not rescued.exists():
            shutil.rmtree(rescued.parent, ignore_errors=True)
            raise
        raise OutputError(f"{error} (the result was kept as {rescued})") from error


class SideOutputs:
    """Tries to write what lies beside a result, and remembers what failed.

    Args:
        result: path of what is to be kept.
    """

    def __init__(self, result: str | os.PathLike) -> None:
        self._result = result
        self._errors: list = []

    def attempt(self, write: Callable, *arguments: Any) -> Any:
        """Call `write(*arguments)` and return what it returns; None, and its error is remembered, where it raises."""
        try:
            return write(*arguments)
        except Exception as error:
            self._errors.append(error)
            return None

    def tell(self) -> None:
        """Raises SideOutputError if something failed: it says what, and what is kept all the same."""
        if self._errors:
            raise SideOutputError(f"{self._errors[0]} ({self._result} is complete)") from self._errors[0]


class SideVideo:
    """A `VideoWriter` beside a result, in a `with` block: once it has failed, frames are passed over.

    Args:
        side_outputs: a `SideOutputs`.
        arguments: of the `VideoWriter`.
    """

    def __init__(self, side_outputs: SideOutputs, *arguments: Any) -> None:
        self._side_outputs, self._arguments = side_outputs, arguments

    def __enter__(self) -> SideVideo:
        self._stack = contextlib.ExitStack()
        self._writer = self._side_outputs.attempt(self._open)
        return self

    def _open(self) -> VideoWriter:
        return self._stack.enter_context(VideoWriter(*self._arguments))

    def write(self, frames: np.ndarray) -> None:
        """As `VideoWriter.write`."""
        if self._writer is not None:
            self._side_outputs.attempt(self._write, frames)

    def _write(self, frames: np.ndarray) -> None:
        try:
            self._writer.write(frames)
        except Exception as error:
            self._writer = None
            self._stack.__exit__(type(error), error, error.__traceback__)  # may name it
            raise

    def __exit__(self, *exception: Any) -> Any:
        if exception[0] is not None:
            return self._stack.__exit__(*exception)
        return self._side_outputs.attempt(self._stack.close)
