"""Arrays that training computes once and keeps, in files named by digests of what they were made of."""

import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ppdiffusers_ext.data.file_facts import FileFacts
from ppdiffusers_ext.data.outputs import output_file
from ppdiffusers_ext.data.records import digest
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.weights.loading import load_arrays
from ppdiffusers_ext.weights.writing import write_safetensors

Arrays = dict[str, np.ndarray]

_CONTENTS = "contents.json"


def contents_of(paths: Iterable[Path], folder: Path) -> dict[str, str]:
    """Path -> digest of the content of each file. Of files that did not change, `folder` has it already.

    Raises:
        MissingFileError, InputError: one is missing or cannot be read, or what was found cannot be kept.
    """
    facts = FileFacts(folder / _CONTENTS)

    def content_of(path: Path) -> str:
        found = facts.of(path)
        if not isinstance(found, str):
            found = digest(path)
            facts.note(path, found)
        return found

    paths = list(dict.fromkeys(paths))
    try:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            contents = dict(zip(map(str, paths), pool.map(content_of, paths)))
    except OSError as error:
        raise InputError(f"{error.filename} cannot be read ({error.strerror}); training clips are needed") from error
    facts.save()
    return contents


def keep(path: Path, make: Callable[[], Mapping[str, np.ndarray]]) -> None:
    """Write arrays into a file, unless a whole one is there.

    Args:
        path: of the file, whose folder is made where it is missing.
        make: function that gives the arrays by name.
    """
    if _is_whole(path):
        return
    arrays = {name: np.ascontiguousarray(array) for name, array in make().items()}
    with output_file(path) as temporary:
        write_safetensors(temporary, arrays, {"format": "pd"})


def _is_whole(path: Path) -> bool:
    """Whether a file is there and undamaged, as far as its head tells."""
    try:
        return bool(load_arrays(path))
    except InputError:
        return False
