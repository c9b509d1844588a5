"""Rows of a run as steps get them: the columns of all tables before, joined by their keys."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ppdiffusers_ext.data.chain.filtering import Bounds, judge
from ppdiffusers_ext.data.chain.steps import Columns, Row, SetStep, Step
from ppdiffusers_ext.data.chain.tables import natural_key, read_table


@dataclass
class Item:
    """A video or a clip, and what the steps before said of it.

    Attributes:
        key: of the row.
        columns: of all steps that have them.
        made_of: step -> digest of what its row was made of.
        errors: step -> reason for which it failed.
    """

    key: str
    columns: Columns = field(default_factory=dict)
    made_of: dict[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    @property
    def row(self) -> Row:
        """The row as a step gets it."""
        return {"key": self.key, **self.columns}

    def add(self, name: str, row: Row) -> None:
        """Add what the table of a step has of it."""
        self.made_of[name] = str(row.get("of"))
        if "error" in row:
            self.errors[name] = str(row["error"])
        else:
            self.columns |= {column: value for column, value in row.items() if column not in ("key", "of")}


def joined(tables: Mapping[str, Path]) -> Iterator[Item]:
    """The rows of the first table, in order, each with those of the same key in the others.

    Args:
        tables: name of a step -> path of its table.
    """
    (base, path), *others = tables.items()
    readers = {name: _Reader(other) for name, other in others}
    for row in read_table(path):
        item, place = Item(row["key"]), natural_key(row["key"])
        item.add(base, row)
        for name, reader in readers.items():
            if (found := reader.at(place)) is not None:
                item.add(name, found)
        yield item


class _Reader:
    """Reads a table along with another one."""

    def __init__(self, path: Path) -> None:
        self._rows = read_table(path)
        self._row: dict[str, Any] | None = None
        self._place: tuple = ()
        self._advance()

    def _advance(self) -> None:
        self._row = next(self._rows, None)
        self._place = () if self._row is None else natural_key(self._row["key"])

    def at(self, place: tuple) -> dict[str, Any] | None:
        while self._row is not None and self._place < place:
            self._advance()
        return self._row if self._place == place else None


def digest_of(*values: Any) -> str:
    """A digest of plain values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Recipe:
    """What a step makes its rows of.

    Attributes:
        step: `Step`.
        base: name of the step whose rows these are.
        settings: digest of the settings.
    """

    step: Step
    base: str
    settings: str

    @classmethod
    def of(cls, step: Step, base: str) -> "Recipe":
        """The recipe of a step; reads its settings, which may be digests of files, once."""
        return cls(step, base, digest_of(step.settings()))

    def made_of(self, item: Item) -> str:
        """The digest of what a row is made of: settings, and what the steps whose columns are read made."""
        needed = [self.base, *(name for name in self.step.needs if name != self.base)]
        read = {name: item.made_of[name] for name in self.step.reads if name in item.made_of}
        return digest_of(self.settings, [item.made_of.get(name) for name in needed], *([read] if read else []))


def is_possible(step: Step, item: Item, base: str) -> bool:
    """Whether a row has all that a step reads."""
    return all(name in item.made_of and name not in item.errors for name in (base, *step.needs))


@dataclass(frozen=True)
class Judge:
    """Says why a clip does not go on.

    Attributes:
        steps: of the run, in order.
        thresholds: step -> column -> `Bounds`.
        as_original: clips go on without a score.
    """

    steps: Sequence[Step]
    thresholds: Mapping[str, Mapping[str, Bounds]]
    as_original: bool = False

    def reasons(self, item: Item, before: Step | None = None) -> list[str]:
        """Why a clip does not pass the steps before one, or all of them; empty if it passes.

        What is given only to clips that pass does not count for those that do not.
        """
        reasons: list[str] = []
        for step in self.steps:
            if step is before or (step.is_gated and reasons):
                break
            reasons += self._of(step, item)
        return reasons

    def _of(self, step: Step, item: Item) -> Iterable[str]:
        if step.name in item.errors:
            return [] if self.as_original else [f"{step.name} failed: {item.errors[step.name]}"]
        if step.name not in item.made_of and not isinstance(step, SetStep):
            return [] if self.as_original else [f"{step.name} is missing"]
        return judge(item.row, self.thresholds.get(step.name, {}), self.as_original)
