"""Declaration of options: each is a field of a dataclass, with its type, bounds, help and old names.

    @dataclass(kw_only=True)
    class Config:
        num_inference_steps: int = option(30, 1, 1000, help="number of denoising steps", aliases=("steps",))
        dtype: str = option("fp32", choices=("fp32", "bf16"), help="precision of the networks")
        output: str | None = path_option(None, help="file to write")

YAML keys (`read_options`), flags of commands (`scripts.options`) and the pages docs/options*.md
(`docs.option_pages`) follow from the declaration. Values of every origin are checked by `check_values`, in the
same words. Dataclasses instead of pydantic: the configurations are dataclasses, the messages are the project's own,
and a validation library's errors would have to be translated into them.
"""

import dataclasses
import logging
import math
import numbers
import os
import re
import secrets
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from ppdiffusers_ext.errors import InputError, check_keys, shown, shown_path
from ppdiffusers_ext.files import check_name, read_yaml

logger = logging.getLogger(__name__)

# Bounds that several systems share: plausible ones, so that what is absurd is told before memory is planned.
SIDES = (64, 8192)  # pixels
FRAMES = (1, 100_000)
STEPS = (1, 1000)  # there are no more timesteps in training
GUIDANCE = (0, 100)
FPS = (0.1, 240)
COUNTS = (1, 1000)  # of what is computed at a time

DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}

DRAWN = -1  # the seed that stands for any
SEEDS = (DRAWN, 2**63 - 1)
_MOST_DRAWN = 2**32  # so that it can be typed, and given to whatever takes 32 bits only

OUTPUT = "Output"  # heading

_DECLARED = "option"


@dataclasses.dataclass(frozen=True)
class Option:
    """Declaration of an option beside its name, type and default, which are the field's.

    Attributes:
        lower, upper: bounds of a number, both accepted; None for none.
        choices: the only values, if there are any.
        is_path: True if it names a file or a folder.
        pattern, accepted: regular expression of the whole text, and the words for what it accepts.
        help: one sentence: what the option does, with its unit.
        unset: what a default of None stands for.
        group: heading under which help texts and pages list it.
        aliases: other names of the YAML key; with hyphens, of the flag.
        keys: other names of the YAML key alone.
        flags: other flags, such as -W.
        off: flags that set it to False.
        metavar: placeholders of the flag's values; a tuple for a flag of several values.
        repeats: True if the flag may be given several times: the value is a list.
        bare: value of the flag where nothing follows it.
        is_positional: True for an argument without a flag; a list takes several.
        excludes: names of options that cannot be given together with it.
        read: function from what was typed after the flag to the value; by type if left out.
        has_flag: False for an option of files alone.
    """

    lower: float | None = None
    upper: float | None = None
    choices: tuple = ()
    is_path: bool = False
    pattern: str = ""
    accepted: str = ""
    help: str = ""
    unset: str = ""
    group: str = ""
    aliases: tuple = ()
    keys: tuple = ()
    flags: tuple = ()
    off: tuple = ()
    metavar: str | tuple = ""
    repeats: bool = False
    bare: str | None = None
    is_positional: bool = False
    excludes: tuple = ()
    read: typing.Callable | None = None
    has_flag: bool = True


def option(
    default: Any = dataclasses.MISSING,
    lower: float | None = None,
    upper: float | None = None,
    choices: Iterable[Any] = (),
    **declared: Any,
) -> Any:
    """A dataclass field with the rest of an `Option`; without a default (`dict`, `list`: new ones) it is required."""
    return _field(default, Option(lower, upper, tuple(choices), **declared))


def path_option(default: Any = dataclasses.MISSING, **declared: Any) -> Any:
    """As `option`, of a field that names a file or a folder; without a default it is required."""
    return _field(default, Option(is_path=True, **declared))


def inherited(cls: type, name: str, default: Any, **changes: Any) -> Any:
    """The field of a base class with another default, and with changes to its `Option`."""
    return _field(default, dataclasses.replace(declaration(field_of(cls, name)), **changes))


def _field(default: Any, declared: Option) -> Any:
    kind = "default_factory" if default in (dict, list) else "default"
    return dataclasses.field(**{kind: default}, metadata={_DECLARED: declared})


def field_of(cls: type, name: str) -> dataclasses.Field:
    return next(item for item in dataclasses.fields(cls) if item.name == name)


def declaration(item: dataclasses.Field) -> Option:
    """The `Option` of a dataclass field."""
    return item.metadata.get(_DECLARED, Option())


def kind_of(item: dataclasses.Field) -> type | None:
    """The type of a field without None; None for a field of several types."""
    if isinstance(item.type, str):  # of a module with `from __future__ import annotations`
        return _NAMED.get(item.type.removesuffix(" | None"))
    is_union = typing.get_origin(item.type) in (typing.Union, types.UnionType)
    kinds = [one for one in (typing.get_args(item.type) if is_union else (item.type,)) if one is not type(None)]
    return (typing.get_origin(kinds[0]) or kinds[0]) if len(kinds) == 1 else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExistingOptions:
    """What becomes of results that exist, for `data.existing.check_existing`."""

    overwrite: bool = option(False, help="replace results that exist", unset="refuse", group=OUTPUT)
    skip_existing: bool = option(
        False,
        help="keep results that exist, if they were made of the same, and make those that are missing",
        group=OUTPUT,
        excludes=("overwrite",),
    )


def key_names(cls: type) -> dict[str, str]:
    """Every YAML key of a dataclass, old names included -> the field's name."""
    found: dict[str, str] = {}
    for item in dataclasses.fields(cls):
        declared = declaration(item)
        found |= dict.fromkeys((item.name, *declared.aliases, *declared.keys), item.name)
    return found


def by_field(cls: type, values: Any, what: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Values by field name, of values by any of its names; also, the names that were used, by field name.

    Args:
        values: dict.
        what: what a name is, for messages, such as "key in file.yaml".

    Raises:
        InputError: a name that is not known, or two names of one option.
    """
    names = key_names(cls)
    check_keys(values, list(names), what)
    found: dict[str, Any] = {}
    used: dict[str, str] = {}
    for name, value in values.items():
        if (other := used.setdefault(names[name], name)) != name:
            raise InputError(f"{what}: {other} and {name} are names of one option; one of them is accepted")
        found[names[name]] = value
    return found, used


def read_options(cls: type, path: Any) -> dict[str, Any]:
    """The options in a YAML file, checked: dict by field name.

    Raises:
        MissingFileError, InputError: no such file, keys that are not known, or values that are not accepted.
    """
    values, used = by_field(cls, read_yaml(path), f"key in {shown_path(path)}")
    check_values(cls, values, path, used)
    return values


_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
_WORDS |= {dict: "a mapping", list: "a list", tuple: "a list"}
_NAMED: dict[str, type] = {kind.__name__: kind for kind in (bool, int, float, str)}
_KINDS: dict[type, Any] = {kind: kind for kind in _WORDS} | {
    float: (int, float),
    list: (list, tuple),
    tuple: (list, tuple),
}


def check_options(config: Any, path: str | os.PathLike | None = None) -> None:
    """Hold every field of a configuration against its type and what `option` declares of it.

    None is accepted where it is the default. A field whose type is no plain one is left to whoever knows it.

    Args:
        config: instance of a dataclass.
        path: of the file that all values are from, if they are from one.

    Raises:
        InputError: a value that is not accepted.
    """
    check_values(type(config), vars(config), path)


def check_values(
    cls: type, values: Mapping[str, Any], path: str | os.PathLike | None = None, names: Mapping[str, str] | None = None
) -> None:
    """As `check_options`, of the values of some fields of a dataclass: a dict by name.

    names: what fields are called where the values are from, if it is something else: dict of field -> "--option".
    """
    where, names = f" in {shown_path(path)}" if path else "", names or {}
    for item in dataclasses.fields(cls):
        if item.name not in values or (values[item.name] is None and item.default is None):
            continue
        kind, declared = kind_of(item), declaration(item)
        if kind in _WORDS:
            name = names.get(item.name, item.name)
            _check_value(f"{name}{where}", values[item.name], kind, declared, item.default)
        others = [other for other in declared.excludes if values[item.name] and values.get(other)]
        if others:
            both = f"{names.get(item.name, item.name)} and {names.get(others[0], others[0])}"
            raise InputError(f"{both} are both given{where}; one of them is accepted")


def _check_value(name: str, value: Any, kind: type, declared: Option, default: Any) -> None:
    if kind in (int, float):
        check_number(name, value, declared.lower, declared.upper, kind is int)
        return
    if not isinstance(value, _KINDS[kind]) or isinstance(value, bool) != (kind is bool):
        raise InputError(f"{name} is {shown(value)}; {_WORDS[kind]} is accepted")
    if declared.choices and value not in declared.choices:
        raise InputError(f"{name} {shown(value)} is not known; {any_of(declared.choices)} is accepted")
    if declared.is_path and value != default:  # "" may be the default, and is no name otherwise
        check_name(value, name, "the name of a file or a folder is accepted")
    elif kind is str:
        _check_text(name, value)
        if declared.pattern and not re.fullmatch(declared.pattern, str(value)):
            raise InputError(f"{name} {shown(value)} is not known; {declared.accepted} is accepted")


def any_of(choices: Iterable[Any]) -> str:
    """Choices as a message names them: "fit, crop or pad"."""
    *first, last = map(str, choices)
    return f"{', '.join(first)} or {last}" if first else last


def _check_text(name: str, text: str) -> None:
    """Refuse what no text has and what cannot be written: NUL, and halves of characters."""
    try:
        text.encode()
        is_text = "\0" not in text
    except UnicodeEncodeError:
        is_text = False
    if not is_text:
        raise InputError(f"{name} is {shown(text)}, which is no text; characters of Unicode but NUL are accepted")


def check_number(
    name: str, value: Any, lower: float | None = None, upper: float | None = None, is_whole: bool = False
) -> None:
    """Refuse what is no finite number between bounds, both of which are accepted.

    Args:
        name: as the message begins.
        value: anything.
        lower, upper: bounds, None for none.
        is_whole: whether only whole numbers are accepted.

    Raises:
        InputError: it is none.
    """
    if is_number(value, is_whole) and (lower is None or value >= lower) and (upper is None or value <= upper):
        return
    raise InputError(f"{name} is {shown(value)}; {_number(lower, upper, is_whole)} is accepted")


def is_number(value: Any, is_whole: bool = False) -> bool:
    """Whether a value is a finite number, of Python or numpy; True and False are none."""
    kind = numbers.Integral if is_whole else numbers.Real
    if not isinstance(value, kind) or isinstance(value, bool):
        return False
    return isinstance(value, numbers.Rational) or math.isfinite(value)


def _number(lower: float | None, upper: float | None, is_whole: bool) -> str:
    kind = "a whole number" if is_whole else "a number"
    if lower == DRAWN:
        return f"{kind} from 0 to {upper}, or {DRAWN} for one that is drawn,"
    if lower is None:
        return kind if upper is None else f"{kind} up to {upper}"
    return f"{kind} of {lower} or more" if upper is None else f"{kind} from {lower} to {upper}"


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """One dict of several, of which a later one goes before an earlier one. None is no value and never does.

    So precedence is, everywhere: default, preset or rung of memory, file, option given.
    """
    return {name: value for layer in layers for name, value in layer.items() if value is not None}


def choose_seed(seed: Any) -> int:
    """The seed of a run: the one given, or for -1 one that is drawn, which the log names.

    Raises:
        InputError: no whole number from -1 to 2^63 - 1.
    """
    check_number("seed", seed, *SEEDS, is_whole=True)
    if seed != DRAWN:
        return seed
    drawn = secrets.randbelow(_MOST_DRAWN)
    logger.warning("seed %d was drawn; --seed %d makes the same again", drawn, drawn)
    return drawn
