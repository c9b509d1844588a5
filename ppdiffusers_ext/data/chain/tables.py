"""Tables of a run: JSON lines in the natural order of their keys, streamed from disk to disk.

A row is `{"key": ..., "of": ..., columns...}`, or has `error`, the reason, in place of columns. `of` is a digest of
all that the row was made of: the file, the settings of its step, and those of the steps before. A row of another
digest than the one that is asked for counts as not there. While a table is made, its rows lie in parts beside it, each
of which appears complete.
"""

import functools
import heapq
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ppdiffusers_ext.data.outputs import output_file, scratch_folder
from ppdiffusers_ext.errors import InputError, shown_path
from ppdiffusers_ext.files import check_file

PART_ROWS = 200  # rows of a part
PART_SECONDS = 20.0  # after which a part is written, however many rows it has: what a killed run may lose
_MOST_OPEN = 64  # files that are merged at a time


def natural_key(text: str) -> tuple:
    """What texts are sorted by: numbers in them by value, so that clip_2 comes before clip_10."""
    parts: list[Any] = re.split(r"([0-9]+)", text)
    parts[1::2] = map(int, parts[1::2])
    return tuple(parts), text


def _key_of(row: dict[str, Any]) -> tuple:
    return natural_key(row["key"])


def read_table(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a table or a part, one by one; none where there is no such file.

    Raises:
        InputError: a line is none of a table, or comes before the one above it; or this is no file.
    """
    if not path.exists():
        return
    check_file(path, "table", "one that a run wrote is accepted, or none: it is made anew")
    last: tuple = ()
    with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line)
                last = _place_behind(last, row)
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise InputError(
                    f"line {number} of table {shown_path(path)} is no row; a table as it was written is accepted, or "
                    "none: it is made anew"
                ) from error
            yield row


def _place_behind(last: tuple, row: Any) -> tuple:
    """The natural key of a row; ValueError, KeyError or TypeError if it is none that a table has behind the last."""
    names = (row["key"], row.get("video", ""))
    if not all(isinstance(text, str) for text in (*names, row.get("of", ""))):
        raise ValueError("no texts")
    for name in names:
        if name.startswith("/") or ".." in name.split("/"):  # files of it may be removed: none but those of the run
            raise ValueError("no path below a folder")
    place = natural_key(row["key"])
    if place <= last:
        raise ValueError("not in order")
    return place


def holds(path: Path, content: bytes) -> bool:
    """Whether a file has just this content."""
    return path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content


def as_line(row: dict[str, Any]) -> str:
    """The line of a row; ValueError, TypeError for what JSON does not have, NaN among it."""
    return json.dumps(row, allow_nan=False) + "\n"


def write_table(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    """Write a table that appears complete; returns the number of rows."""
    count = 0
    with output_file(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(as_line(row))
            count += 1
    return count


def parts_of(path: Path) -> Path:
    """The folder of a table's parts."""
    return path.with_suffix(".parts")


def sources_of(path: Path) -> list[Path]:
    """A table, and its parts in the order in which they were written.

    Other files of that folder are none: one that a killed run was writing goes as soon as another is written there.
    """
    parts = [part for part in parts_of(path).glob("*.jsonl") if part.stem.isdecimal()]
    return [path, *sorted(parts, key=lambda part: int(part.stem))]


class Known(NamedTuple):
    """Where a row is, or several rows that one video became: number of the source, and whether it failed."""

    source: int
    is_failed: bool


@dataclass
class Store:
    """Index of a table's rows: its own, those of tables that it takes over, and the parts of a stopped run.

    Attributes:
        path: of the table.
        unit: column by which rows are asked for: "key", or "video" of a table with several rows for one.
        others: tables of the same step that are taken over.
        is_kept: function of a row: whether the files that it speaks of are there; None where there are none.
        wanted: unit -> `of` of the rows that are wanted; filled while the step goes over its rows.
        seen: units that are there, wanted or not.
    """

    path: Path
    unit: str = "key"
    others: Sequence[Path] = ()
    is_kept: Callable[[dict[str, Any]], bool] | None = None
    wanted: dict[str, str] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.parts = parts_of(self.path)
        _, *own = sources_of(self.path)
        self.sources = [self.path, *self.others, *own]
        self._known: dict[tuple[str, str], Known] = {}
        lost = set()
        for number, source in enumerate(self.sources):
            for row in read_table(source):
                self._note(row, number)
                if self.is_kept is not None and "error" not in row and not self.is_kept(row):
                    lost.add(self._place_of(row))
        for place in lost:
            del self._known[place]
        self._rows: list[dict[str, Any]] = []
        self._begun = time.monotonic()
        self._next = int(own[-1].stem) + 1 if own else 1

    def _place_of(self, row: dict[str, Any]) -> tuple[str, str]:
        """The unit of a row, and what it was made of."""
        return row.get(self.unit, row["key"]), str(row.get("of"))

    def _note(self, row: dict[str, Any], source: int) -> None:
        """Remember where a row is: the last one counts, unless it is a failure and another one is none."""
        place = self._place_of(row)
        is_failed = "error" in row
        if not is_failed or place not in self._known or self._known[place].is_failed:
            self._known[place] = Known(source, is_failed)

    def known(self, unit: str, of: str) -> Known | None:
        """Where the rows of a unit are; None where there are none that were made of this."""
        return self._known.get((unit, of))

    def add(self, rows: Iterable[dict[str, Any]]) -> None:
        """Add the rows of one unit; they are written with the next part."""
        self._rows += rows
        if len(self._rows) >= PART_ROWS or time.monotonic() - self._begun > PART_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the rows that are in no part yet."""
        if self._rows:
            path = self.parts / f"{self._next}.jsonl"
            write_table(path, sorted(self._rows, key=_key_of))
            for row in self._rows:
                self._note(row, len(self.sources))
            self.sources.append(path)
            self._next += 1
            self._rows = []
        self._begun = time.monotonic()

    def finish(self, forget: Callable[[dict[str, Any]], None]) -> int:
        """Write the table of the wanted rows, and remove the parts; returns the number of rows.

        Args:
            forget: is called with each row that others have replaced; not with those of units that are gone.
        """
        self.flush()
        if self._is_in_order():
            count = sum(1 for _ in read_table(self.path))
        else:
            stale = [row for row in self._stale() if self._place_of(row)[0] in self.seen]
            kept: set[str] = set()
            stale_keys = {row["key"] for row in stale}
            with scratch_folder(self.path) as scratch:
                count = write_table(self.path, self._noting(self._wanted_rows(scratch), stale_keys, kept))
            for row in stale:
                if row["key"] not in kept:
                    forget(row)
        for path in self.sources[1 + len(self.others) :]:
            path.unlink(missing_ok=True)
        if self.parts.is_dir() and not os.listdir(self.parts):
            self.parts.rmdir()
        return count

    def _is_in_order(self) -> bool:
        """Whether the table has the wanted rows, and no others."""
        if not self.path.exists():
            return False
        places = {(unit, of) for unit, of in self.wanted.items()}
        in_table = {place for place, known in self._known.items() if known.source == 0}
        return places & self._known.keys() == in_table

    def _chooses(self, number: int, row: dict[str, Any]) -> bool:
        unit, of = self._place_of(row)
        known = self._known.get((unit, of))
        return known is not None and self.wanted.get(unit) == of and known.source == number

    def _stale(self) -> Iterator[dict[str, Any]]:
        """Rows of the table that are not wanted any more."""
        return (row for row in read_table(self.path) if not self._chooses(0, row))

    @staticmethod
    def _noting(rows: Iterator[dict[str, Any]], asked: set[str], found: set[str]) -> Iterator[dict[str, Any]]:
        for row in rows:
            if row["key"] in asked:
                found.add(row["key"])
            yield row

    def _wanted_rows(self, scratch: Path) -> Iterator[dict[str, Any]]:
        """The wanted rows of all sources, in order."""

        def of(number: int) -> Iterator[dict[str, Any]]:
            return (row for row in read_table(self.sources[number]) if self._chooses(number, row))

        return merged([functools.partial(of, number) for number in range(len(self.sources))], scratch)


def merged(sources: Sequence[Callable[[], Iterator[dict[str, Any]]]], scratch: Path) -> Iterator[dict[str, Any]]:
    """Rows of several sorted sources in order, of which only some are open at a time.

    Args:
        sources: functions that open them.
        scratch: folder for what is merged on the way.
    """
    level = 0
    while len(sources) > _MOST_OPEN:
        paths = []
        for start in range(0, len(sources), _MOST_OPEN):
            path = scratch / f"{level}-{start}.jsonl"
            write_table(path, heapq.merge(*(open_() for open_ in sources[start : start + _MOST_OPEN]), key=_key_of))
            paths.append(path)
        sources, level = [functools.partial(read_table, path) for path in paths], level + 1
    yield from heapq.merge(*(open_() for open_ in sources), key=_key_of)


@dataclass(frozen=True)
class JsonFile:
    """A small JSON file beside a table."""

    path: Path
    values: dict[str, Any]

    @property
    def _text(self) -> str:
        return json.dumps(self.values, indent=1, default=str) + "\n"

    def is_written(self) -> bool:
        """Whether the file holds the values."""
        return holds(self.path, self._text.encode())

    def write(self) -> None:
        """Write the values, unless they are there."""
        if not self.is_written():
            with output_file(self.path) as temporary:
                Path(temporary).write_text(self._text, encoding="utf-8")
