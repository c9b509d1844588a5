"""Lists of training clips in files as people's tools write them: JSON, JSON lines, CSV, or a path in each line.

Both systems' data are read here. Byte order marks, UTF-16 and backslashes, which Windows' tools write, are understood.
"""

import csv
import io
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ppdiffusers_ext.data.outputs import output_file
from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.files import check_name, parse_json, read_bytes

ENDINGS = (".json", ".jsonl", ".ndjson", ".csv", ".tsv")
NOT_LISTED = "its path is not text in UTF-8 on one line, and lists cannot have it"
_MOST = 64 << 20  # bytes of a file, some 400,000 clips
_LONGEST_NAME, _LONGEST_PATH = 255, 4096  # bytes, of Linux
_DELIMITERS = ",\t;|"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def read_rows(
    path: str | os.PathLike, fields: Mapping[str, Sequence[str]], what: str, accepted: str, of_lines: bool = False
) -> list[dict[str, Any]]:
    """What a file says of each clip.

    Args:
        path: of the file.
        fields: name -> the keys or headings that stand for it, in small letters. Without any of them, a row has the
            fields in this order and nothing else.
        what: the kind of file as a message names it: "meta file".
        accepted: the end of the message.
        of_lines: whether a file whose name does not end in one of `ENDINGS` has a single path in each line.

    Returns:
        A list of dicts: field -> text.

    Raises:
        MissingFileError, InputError: the file cannot be read, or a row lacks a field, which is named with its line.
    """
    rows = read_entries(path, fields, what, accepted, of_lines)
    return [_read_fields(row, fields, f"{place} of {what} {path}", accepted) for place, row in rows]


def read_entries(
    path: str | os.PathLike,
    fields: Mapping[str, Sequence[str]],
    what: str,
    accepted: str,
    of_lines: bool = False,
    most: int = _MOST,
) -> list[tuple[str, Any]]:
    """The entries of a file as they stand there, each with its place: ("entry 3", what it holds).

    An entry of a CSV file with headings is a list of pairs of heading and cell, of one without them a list of cells.

    Args:
        most: bytes of the file.
        others: and errors of the file, see `read_rows`.
    """
    text = _read_text(path, what, accepted, most)
    where = f"{what} {path}"
    start, suffix = text.lstrip()[:1], Path(path).suffix.lower()
    if of_lines and suffix not in ENDINGS:
        return [(f"line {number}", [line]) for number, line in _lines(text)]
    if start == "[" and not (suffix in ENDINGS[1:3] and _is_list_of_lists(text)):
        return _rows_of_json(text, where, accepted)
    if start in ("[", "{") or (start == '"' and suffix in ENDINGS[1:3]):
        return _rows_of_json_lines(text, where, accepted, suffix == ".json")
    if suffix in ENDINGS[:3]:
        return _rows_of_json(text, where, accepted)  # which says what is wrong
    return _rows_of_csv(text, fields, where, accepted)


def _read_text(path: str | os.PathLike, what: str, accepted: str, most: int) -> str:
    content = read_bytes(path, what, accepted, most)
    encoding = "utf-16" if content.startswith(_UTF_16) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        name = encoding.removesuffix("-sig").upper()
        raise InputError(f"{what} {path} is not text in {name} (byte {error.start}); {accepted}") from error


def _lines(text: str) -> list[tuple[int, str]]:
    """(number, line) of those that are not empty. Nothing else ends a line, as `str.splitlines` would have it."""
    return [(number, line) for number, line in enumerate(re.split(r"\r\n|\n|\r", text), 1) if line.strip()]


def _rows_of_json(text: str, where: str, accepted: str) -> list[tuple[str, Any]]:
    entries = parse_json(text, where, accepted)
    if not isinstance(entries, list):
        raise InputError(f"{where} holds a {type(entries).__name__}; {accepted}")
    return [(f"entry {index}", entry) for index, entry in enumerate(entries)]


def _is_list_of_lists(text: str) -> bool:
    """Whether each line is a list of its own."""
    lines = _lines(text)
    return len(lines) > 1 and lines[0][1].rstrip().endswith("]")


def _rows_of_json_lines(text: str, where: str, accepted: str, is_json: bool) -> list[tuple[str, Any]]:
    lines = _lines(text)
    if (is_json and len(lines) == 1) or lines[0][1].strip() == "{":  # a mapping, on one line or over several
        _rows_of_json(text, where, accepted)
    return [
        (f"line {number}", parse_json(line.strip(), f"line {number} of {where}", accepted)) for number, line in lines
    ]


def _rows_of_csv(text: str, fields: Mapping[str, Sequence[str]], where: str, accepted: str) -> list[tuple[str, Any]]:
    known = {name for names in fields.values() for name in names}
    lines = _lines(text)
    if not lines:
        return []
    heads = {delimiter: _cells(lines[0][1], delimiter) for delimiter in _DELIMITERS}
    delimiter = max(heads, key=lambda each: (len(known & _normalised(heads[each])), len(heads[each]) == len(fields)))
    has_names = bool(known & _normalised(heads[delimiter]))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
    rows = []
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append((f"line {reader.line_num}", cells))
    except csv.Error as error:
        place = f"line {reader.line_num} of {where}"
        raise InputError(f"{place} is not CSV that can be read ({error}); {accepted}") from error
    if not has_names:
        return rows
    names = rows[0][1]
    for place, cells in rows[1:]:
        if len(cells) != len(names):
            raise InputError(f"{place} of {where} has {len(cells)} cells, the headings are {len(names)}; {accepted}")
    return [(place, list(zip(names, cells))) for place, cells in rows[1:]]


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
    except csv.Error:
        return []


def _normalised(names: Sequence[str]) -> set[str]:
    return {_normal(name) for name in names}


def _normal(name: str) -> str:
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def _read_fields(row: Any, fields: Mapping[str, Sequence[str]], where: str, accepted: str) -> dict[str, str]:
    """field -> text of a row, which is a list of cells, or of pairs of heading and cell, or what JSON holds."""
    if isinstance(row, dict):
        row = list(row.items())
    if isinstance(row, str):
        row = [row]
    if isinstance(row, list) and len(row) == len(fields) and all(isinstance(cell, str) for cell in row):
        return {field: _checked(cell, where, accepted) for field, cell in zip(fields, row)}
    if not isinstance(row, list) or not all(isinstance(pair, tuple) for pair in row):
        raise _lacking(where, [names[0] for names in fields.values()], accepted)
    found: dict = {}
    for name, value in row:
        field = next((field for field, names in fields.items() if _normal(name) in names), None)
        if field is None or value in (None, ""):
            continue
        if not isinstance(value, str):
            raise _lacking(where, [fields[field][0]], accepted)
        if found.setdefault(field, value) != value:
            raise InputError(
                f"{where} has two values for one thing, {shown(found[field])} and {shown(value)}; {accepted}"
            )
    if found.keys() != fields.keys():
        raise _lacking(where, [fields[field][0] for field in fields if field not in found], accepted)
    return {field: _checked(value, where, accepted) for field, value in found.items()}


def _lacking(where: str, names: Sequence[str], accepted: str) -> InputError:
    return InputError(f"{where} has no {' and '.join(names)} that is text; {accepted}")


def _checked(name: str, where: str, accepted: str) -> str:
    """A name that a file can have."""
    if not name.strip():
        raise InputError(f"{where} has an empty name; {accepted}")
    check_name(name, f"name in {where},", accepted)
    parts = name.encode().replace(b"\\", b"/").split(b"/")
    if len(name.encode()) > _LONGEST_PATH or max(map(len, parts)) > _LONGEST_NAME:
        raise InputError(f"{where} has {shown(name)}, which is longer than a name can be; {accepted}")
    return name


def find_path(name: str, folders: Sequence[str | os.PathLike]) -> Path:
    """The path that a name in a meta file stands for: the first that exists.

    Args:
        name: absolute, or relative to the working folder or one of `folders`. Where there is no such file, spaces and
            quotation marks around it are left out, and backslashes are taken for what divides folders.
        folders: those that are looked into after the working folder.
    """
    bare = name.strip()
    if len(bare) > 2 and bare[0] == bare[-1] and bare[0] in "\"'":
        bare = bare[1:-1]
    forms = dict.fromkeys((name, bare, bare.replace("\\", "/")))
    candidates = [Path(folder, form) for form in forms for folder in folders]
    return next((path for path in candidates if os.path.exists(path)), Path(folders[0], [*forms][-1]))


def write_rows(path: str | os.PathLike, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a meta file that `read_rows` reads: a JSON list of dicts."""
    with output_file(path) as temporary:
        Path(temporary).write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def can_be_listed(path: str | os.PathLike) -> bool:
    """Whether a path can be written into lists: it is text in UTF-8, and on one line."""
    try:
        return not re.search(r"[\r\n]", str(path)) and bool(str(path).encode())
    except UnicodeEncodeError:
        return False
