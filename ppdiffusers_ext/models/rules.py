"""What an option of a configuration file may be: declared once for each option, and checked before anything is built.

    rules = Rules({"num_layers": Whole(1, 128), "act_fn": Choice("silu", "gelu")})
    rules.check(options, "vae/config.json")

A file may say that a network has ten million layers. Building it would be the first thing to fail, after minutes and
gigabytes; so bounds are some times the sizes of what was published, and whatever is beyond them is refused by name.
"""

import inspect
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ppdiffusers_ext.errors import InputError, shown

# What is wrong between several of all options of a network, in words, or None.
Relation = Callable[[dict[str, Any]], str | None]


class Rule(Protocol):
    """What one option may be."""

    @property
    def accepted(self) -> str:
        """The accepted values, in words."""
        ...

    def fits(self, value: Any) -> bool:
        """Whether a value, as a configuration file has it, is accepted."""
        ...


@dataclass(frozen=True)
class Whole:
    """A whole number; True and 3.0 are none."""

    low: int
    high: int

    def fits(self, value: Any) -> bool:
        return type(value) is int and self.low <= value <= self.high

    @property
    def accepted(self) -> str:
        return f"a whole number from {self.low} to {self.high}"


@dataclass(frozen=True)
class Number:
    """A finite number; True is none."""

    low: float
    high: float

    def fits(self, value: Any) -> bool:
        return type(value) in (int, float) and self.low <= value <= self.high

    @property
    def accepted(self) -> str:
        return f"a number from {self.low:g} to {self.high:g}"


class Flag:
    """True or False."""

    accepted = "true or false"

    def fits(self, value: Any) -> bool:
        return type(value) is bool


class Anything:
    """Whatever it is: what is done with it is checked elsewhere, or nothing is."""

    accepted = "anything"

    def fits(self, value: Any) -> bool:
        return True


class Choice:
    """One of some values."""

    def __init__(self, *values: str | int | None) -> None:
        self.values, self.accepted = values, " or ".join("null" if value is None else str(value) for value in values)

    def fits(self, value: Any) -> bool:
        return isinstance(value, (str, int, type(None))) and value in self.values


@dataclass(frozen=True)
class Text:
    """A text of so many characters."""

    low: int = 0
    high: int = 1000

    def fits(self, value: Any) -> bool:
        return isinstance(value, str) and self.low <= len(value) <= self.high

    @property
    def accepted(self) -> str:
        return f"a text of {self.low} to {self.high} characters"


@dataclass(frozen=True)
class ListOf:
    """A list whose items fit a rule."""

    rule: Rule
    low: int
    high: int

    def fits(self, value: Any) -> bool:
        is_list = isinstance(value, (list, tuple)) and self.low <= len(value) <= self.high
        return is_list and all(self.rule.fits(item) for item in value)

    @property
    def accepted(self) -> str:
        return f"a list of {self.low} to {self.high}, each {self.rule.accepted},"


class Either:
    """A value that fits one of some rules; `Either(None, rule)` is an option that may be null."""

    def __init__(self, *rules: Rule | None) -> None:
        self._rules = [Choice(None) if rule is None else rule for rule in rules]
        self.accepted = " or ".join(rule.accepted for rule in self._rules)

    def fits(self, value: Any) -> bool:
        return any(rule.fits(value) for rule in self._rules)


@dataclass(frozen=True)
class Rules:
    """The rules of a network's options.

    Attributes:
        fields: name of an option -> its rule.
        relations: functions of a dict of all options, with the defaults of those that are not given, that return
            what is wrong between several of them, in words, or None.
        defaults: of options that a file may lack.
        size: function of the same dict: about how many numbers the network's weights are.
        most: of them; what was published has a fraction of it.
    """

    fields: Mapping[str, Rule]
    relations: tuple[Relation, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    size: Callable[[dict[str, Any]], float] | None = None
    most: float = math.inf

    def check(self, options: dict[str, Any], source: str | os.PathLike) -> None:
        """Raise an InputError, which begins with `source`, where an option does not fit. Unknown ones are ignored."""
        self.check_fields(options, source)
        whole = {**self.defaults, **options}
        for relation in self.relations:
            if wrong := relation(whole):
                raise InputError(f"{source}: {wrong}")
        size = self.size(whole) if self.size else 0
        if size > self.most:
            raise InputError(
                f"{source}: the network would have about {size:.1e} weights; {self.most:.0e} at most are accepted"
            )

    def check_fields(self, options: dict[str, Any], source: str | os.PathLike) -> None:
        """As `check`, of each option by itself."""
        for name, rule in self.fields.items():
            if name in options and not rule.fits(options[name]):
                raise InputError(f"{source}: {name} is {shown(options[name])}; {rule.accepted} is accepted")


class Nested:
    """A mapping whose values fit rules."""

    def __init__(self, rules: dict[str, Rule]) -> None:
        self._rules = rules
        self.accepted = "a mapping of " + ", ".join(f"{name} ({rule.accepted})" for name, rule in rules.items())

    def fits(self, value: Any) -> bool:
        return isinstance(value, dict) and all(
            rule.fits(value[name]) for name, rule in self._rules.items() if name in value
        )


def same_length(*names: str) -> Relation:
    """A relation: the options are lists of one length. One that is a number stands for a list of any length."""

    def relation(options: dict[str, Any]) -> str | None:
        lengths = {name: len(options[name]) for name in names if isinstance(options.get(name), (list, tuple))}
        if names[0] in lengths and len(set(lengths.values())) > 1:
            first, other = names[0], next(name for name in lengths if lengths[name] != lengths[names[0]])
            return f"{other} has {lengths[other]} entries, {first} {lengths[first]}; as many are needed"
        return None

    return relation


def divides(divisor: str, *dividends: str) -> Relation:
    """A relation: an option divides others, which may be lists, as it may be itself: entry by entry then."""

    def relation(options: dict[str, Any]) -> str | None:
        for name in dividends:
            values, parts = options.get(name), options.get(divisor)
            if values is None or parts is None:
                continue
            values = list(values) if isinstance(values, (list, tuple)) else [values]
            parts = list(parts) if isinstance(parts, (list, tuple)) else [parts] * len(values)
            for value, part in zip(values, parts):
                if value % part:
                    return f"{value} ({name}) is no multiple of {part} ({divisor}); one is needed"
        return None

    return relation


def even(*names: str) -> Relation:
    """A relation: options, or the first entries of lists, are even."""

    def relation(options: dict[str, Any]) -> str | None:
        for name in names:
            value = options.get(name)
            value = value[0] if isinstance(value, (list, tuple)) else value
            if value is not None and value % 2:
                return f"{name} begins with {value}, which is odd; an even number is needed"
        return None

    return relation


def option_names(cls: type) -> list[str]:
    """The options of a class, as its constructor names them."""
    parameters = inspect.signature(cls.__init__).parameters  # type: ignore[misc]  # of the class itself
    return [name for name in parameters if name != "self"]
