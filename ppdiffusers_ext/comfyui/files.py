"""Pictures of an order as files, which is how options name them."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ppdiffusers_ext.data.frames import FolderWriter
from ppdiffusers_ext.data.images import write_image
from ppdiffusers_ext.errors import InputError


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """Yields a folder that goes when the block ends; messages of errors are without its name, which no user knows."""
    with tempfile.TemporaryDirectory(prefix="ppdiffusers_ext-") as name:
        try:
            yield Path(name)
        except InputError as error:
            words = str(error)
            if name not in words:
                raise
            raise InputError(words.replace(f"{name}/", "")) from error


def write_picture(frames: np.ndarray, folder: Path, name: str) -> str:
    """Write the one picture of a role as NAME.png: its path."""
    path = folder / f"{name}.png"
    write_image(path, frames[0])
    return str(path)


def write_frames(frames: np.ndarray, folder: Path, name: str) -> str:
    """Write the pictures of a role into a folder NAME, as frame_0.png and so on: its path."""
    writer = FolderWriter(folder / name)
    for frame in frames:
        writer.write(frame)
    return str(writer.folder)
