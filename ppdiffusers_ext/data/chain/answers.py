"""Answers of models in files: those of a server, so that nothing is paid for twice, and those that are replayed."""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppdiffusers_ext.data.meta_files import read_entries
from ppdiffusers_ext.data.outputs import output_file
from ppdiffusers_ext.data.records import digest_of
from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.files import parse_json

FOLDER = "answers"  # below that of a run
_MOST = 1 << 20  # bytes of a file
_MOST_LISTED = 1 << 30
_FIELDS = {
    "key": ("key", "file_path", "video_path", "path"),
    "answer": ("answer", "caption", "text"),
}
_ACCEPTED = "rows with key (or file_path) and caption (or answer, text) are accepted"


class KeptAnswers:
    """Answers by what was asked, a file each: "answers/ab/ab12....json".

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / FOLDER

    def get(self, asked: Mapping[str, Any]) -> str | None:
        """The answer, or None where there is none, or its file is damaged."""
        with contextlib.suppress(OSError, InputError, UnicodeDecodeError):
            content = self._path(asked).read_bytes()[:_MOST].decode()
            values = parse_json(content, "answer", "JSON is accepted")
            if isinstance(values, dict) and values.get("asked") == asked and isinstance(values.get("answer"), str):
                return values["answer"]
        return None

    def put(self, asked: Mapping[str, Any], answer: str) -> None:
        """Keep an answer. Raises InputError where it cannot be written."""
        with output_file(self._path(asked)) as temporary:
            content = json.dumps({"asked": asked, "answer": answer}, ensure_ascii=False, indent=1)
            Path(temporary).write_text(f"{content}\n", encoding="utf-8")

    def _path(self, asked: Mapping[str, Any]) -> Path:
        name = digest_of(asked)
        return self._folder / name[:2] / f"{name}.json"


def read_answers(path: str | os.PathLike, what: str) -> dict[str, str]:
    """key -> answer of a file of JSON, JSON lines, or CSV; an answer may be empty.

    Args:
        path: of the file.
        what: the kind of file as a message names it.

    Raises:
        MissingFileError, InputError: it cannot be read, a row lacks a field, or two rows of a key differ.
    """
    found: dict[str, str] = {}
    for place, row in read_entries(path, _FIELDS, what, _ACCEPTED, most=_MOST_LISTED):
        values = _fields(row)
        if values is None:
            raise InputError(f"{place} of {what} {path} is {shown(row)}; {_ACCEPTED}")
        key, answer = values
        if found.setdefault(key, answer) != answer:
            raise InputError(f"{place} of {what} {path} has another answer for {shown(key)} than one before; one for "
                             "each key is accepted")  # fmt: skip
    return found


def _fields(row: Any) -> tuple[str, str] | None:
    """The key and the answer of a row as `read_entries` gives it."""
    if isinstance(row, list) and len(row) == 2 and all(isinstance(cell, str) for cell in row):
        return row[0], row[1]
    if isinstance(row, list) and all(isinstance(pair, tuple) for pair in row):
        row = dict(row)
    if not isinstance(row, dict):
        return None
    key, answer = (next((row[name] for name in names if name in row), None) for names in _FIELDS.values())
    return (key, answer) if isinstance(key, str) and key and isinstance(answer, str) else None
