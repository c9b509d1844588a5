"""What was found out about files, kept in a file of its own and known as long as they do not change."""

import json
import logging
import os
from pathlib import Path
from typing import Any

from ppdiffusers_ext.data.outputs import output_file
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.files import read_json

logger = logging.getLogger(__name__)

_MOST_BYTES = 2 << 30  # some ten million files
_COLUMNS = 4  # path, bytes, time of change in nanoseconds, fact


class FileFacts:
    """Facts, which are plain values, by the paths of files.

    Size and time of change tell whether a file is still the same. Whoever takes a fact has to check it: the file of
    facts may be anybody's.

    Args:
        path: JSON file to begin with, and for `save`; a damaged one is told, and made anew. None keeps nothing.
    """

    def __init__(self, path: str | os.PathLike | None) -> None:
        self._path = None if path is None else Path(path)
        self._rows = self._read()
        self._is_changed = False

    def of(self, file: str | os.PathLike) -> Any:
        """The fact of a file; None where none is known of it as it is now. Raises OSError where it is gone."""
        row = self._rows.get(str(file))
        return row[3] if row is not None and row[:3] == _state_of(file) else None

    def note(self, file: str | os.PathLike, fact: Any) -> None:
        """Keep a fact. Raises OSError where the file is gone."""
        row = [*_state_of(file), fact]
        self._is_changed |= self._rows.get(row[0]) != row
        self._rows[row[0]] = row

    def save(self) -> None:
        """Write the file of facts, if there are new ones. Raises InputError where that cannot be done."""
        if self._path is not None and self._is_changed:
            with output_file(self._path) as temporary:
                Path(temporary).write_text(json.dumps([*self._rows.values()]), encoding="utf-8")
            self._is_changed = False

    def _read(self) -> dict[str, list]:
        if self._path is None or not self._path.is_file():
            return {}
        try:
            rows = read_json(self._path, "file of facts", "one that was written here is accepted", _MOST_BYTES)
        except InputError as error:
            logger.warning("%s; it is made anew", error)
            return {}
        rows = rows if isinstance(rows, list) else []
        return {row[0]: row for row in rows if _is_row(row)}


def _is_row(row: Any) -> bool:
    return isinstance(row, list) and len(row) == _COLUMNS and isinstance(row[0], str)


def _state_of(file: str | os.PathLike) -> list:
    status = os.stat(file)
    return [str(file), status.st_size, status.st_mtime_ns]
