"""Errors that a user's input can cause. The command line prints them as one line and exits with code 2.

Every message says what is wrong with which file or option, and what would be accepted. What it quotes of a file goes
through `shown` or `printable` first: a value may be endless, and a name may hold what a terminal obeys.
"""

import difflib
import reprlib
from collections.abc import Iterable, Sequence
from typing import Any

from ppdiffusers_ext.packaged import as_called

_MOST_SHOWN = 80
_MOST_OF_PATH = 300
_MOST_OF_NAMES = 160
_LEAST_PART = 3  # letters of a name that are enough to find it


class InputError(ValueError):
    """Something the user gave (an option, a file, a configuration) cannot be used."""

    def __str__(self) -> str:
        return as_called(super().__str__())


class MissingFileError(InputError, FileNotFoundError):
    """A file or folder that the user named does not exist."""

    def __str__(self) -> str:
        # OSError would format its arguments as an errno tuple.
        return as_called(str(self.args[0])) if self.args else ""


class NonFiniteError(InputError, ArithmeticError):
    """A computation gave NaN or infinity, so that its result is worthless."""


def check_keys(values: Any, known: Iterable[str], what: str) -> None:
    """Refuse keys that are not known, naming the nearest that is, or all where none is near.

    Args:
        values: dict, or what a file has in the place of one.
        known: names.
        what: what a key is, as a message names it: "key in a.yaml".

    Raises:
        InputError: there is such a key, or it is no mapping.
    """
    if not isinstance(values, dict):
        raise InputError(f"{shown(values)} stands where a mapping is needed, each a {what}")
    known = list(known)
    for key in values:
        if key not in known:
            text = key[:_MOST_SHOWN] if isinstance(key, str) else shown(key)
            raise InputError(f"unknown {what}: {shown(key)}; {suggestion(text, known)}")


def nearest(text: str, known: Iterable[str]) -> str | None:
    """The name that a text was probably meant to be: one nearly the same, or one that has it as a part; None if none.

    Args:
        text: str.
        known: names, those to be preferred first.
    """
    known = {_bare(name): name for name in reversed(list(known))}
    bare = _bare(text[:_MOST_SHOWN])
    if near := difflib.get_close_matches(bare, known, n=1):
        return known[near[0]]
    parts = [name for name in known if len(bare) >= _LEAST_PART and bare in name]
    return known[min(parts, key=len)] if parts else None


def _bare(name: str) -> str:
    return name.lower().lstrip("-").replace("_", "-")


def suggestion(text: str, known: Sequence[str]) -> str:
    """The end of a message about an unknown name: the nearest one, or where none is near, which there are."""
    near = nearest(text, known)
    if near is not None:
        return f"did you mean {near!r}?"
    *first, last = known or ["nothing"]
    names = f"{', '.join(first)} or {last}" if first else last
    return f"{printable(names, _MOST_OF_NAMES)} is accepted"


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number and what it counts: "1 frame", "12,000 frames", "2 processes"."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def printable(text: object, most: int | None = None) -> str:
    """A text without what a terminal would obey, on its lines, cut to `most` characters if that is given."""
    text = str(text)
    text = "".join(map(_printable_letter, text if most is None else text[: most + 1]))
    return text if most is None or len(text) <= most else f"{text[: most - 3]}..."


def _printable_letter(letter: str) -> str:
    return letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1]


def one_line(text: object, most: int | None = None) -> str:
    """A text on one line, whatever is in it, without what a terminal would obey, cut to `most` characters if given."""
    lines = (line.strip() for line in str(text).splitlines())
    return printable(" ".join(line for line in lines if line), most)


def shown_path(path: Any) -> str:
    """A path as a message names it: on one line, bounded, and without what a terminal would obey."""
    return printable(str(path).replace("\n", "\\n"), _MOST_OF_PATH)


def shown(value: Any, most: int = _MOST_SHOWN) -> str:
    """A value as Python writes it, on one line of at most `most` characters, whatever the value is."""
    return printable(_Bounded(most).repr(value).replace("\n", " "), most)


class _Bounded(reprlib.Repr):
    """Python's bounded repr, which also bears integers that are too long to be written."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.maxlevel, self.maxdict, self.maxlist, self.maxtuple, self.maxset = 3, 4, 6, 6, 6
        self.maxstring = self.maxlong = self.maxother = most

    def repr_int(self, value: int, level: int) -> str:
        if value.bit_length() > 1000:
            return f"a whole number of about {int(value.bit_length() * 0.30103)} digits"
        return super().repr_int(value, level)

    def repr_bytes(self, value: bytes, level: int) -> str:
        return super().repr_instance(value[: self.maxstring], level)
