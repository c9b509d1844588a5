"""Parser of the trainers' options, from a command line and from YAML or JSON files, without Paddle.

A file's keys are the options' names, and its values are converted as on a command line. Options after the file
override its values. Whatever cannot be used raises InputError before anything is computed. Types, defaults and names
are those that paddlenlp's own parser makes of the same dataclasses.
"""

import argparse
import dataclasses
import functools
import json
import math
import os
import re
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import Any

from ppdiffusers_ext.errors import InputError, nearest, printable, shown
from ppdiffusers_ext.files import read_json, read_yaml
from ppdiffusers_ext.options import Option, any_of, declaration
from ppdiffusers_ext.training.bounds import accepted_of, check_bounds, check_output_folder, check_use, fields_of

ACCEPTED = "--help-all lists what is accepted"
MOST_MESSAGE = 400
Kinds = tuple[Any, ...]  # dataclasses of the model, the data and the training

_FILES: dict[str, Callable] = {".yaml": read_yaml, ".yml": read_yaml, ".json": read_json}
_LARGEST = 2**63
_MOST_DIGITS = 1000
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
_TRUE, _FALSE = ("yes", "true", "t", "y", "1"), ("no", "false", "f", "n", "0")  # paddlenlp's


def parse_options(arguments: Sequence[str], kinds: Kinds) -> tuple[Any, Any, Any]:
    """The three dataclasses from a command line, which may begin with a YAML or JSON file of options.

    Args:
        arguments: list of texts.
        kinds: dataclasses of the model, the data and the training.

    Raises:
        InputError: unknown options, or values that cannot be used.
    """
    given = read_options(arguments, kinds)
    check_bounds(given, kinds)
    check_use(given, {item.name: item.default for item in dataclasses.fields(kinds[-1])})
    check_output_folder("output_dir", given["output_dir"])
    if given["logging_dir"]:
        check_output_folder("logging_dir", given["logging_dir"])
    model, data, training = (filled(kind, given) for kind in kinds)
    training.check()
    if training.recompute:  # paddlenlp's word for gradient checkpointing
        model.recompute()
    data.check()
    if training.validation_steps:
        data.check_validation()
    return model, data, training


def filled(kind: Any, values: dict[str, Any]) -> Any:
    """A dataclass with those of the values that it has."""
    return kind(**{name: values[name] for name in fields_of([kind])})


def read_options(arguments: Sequence[str], kinds: Kinds) -> dict[str, Any]:
    """Returns the values of all options by name, with the right types but without checks of their bounds.

    Raises:
        InputError: unknown options, values of another type, a file that cannot be read.
    """
    parser, refused = make_parser(kinds), {name: why for kind in kinds for name, why in kind.REFUSED.items()}
    words = [str(word) for word in arguments]
    if words and _is_file(words[0]):
        words = [*_words_of_file(words[0], parser, refused), *words[1:]]
    values, unknown = parser.parse_known_args(words)
    if unknown:
        _check_refused((word.removeprefix("--").partition("=")[0] for word in unknown if word[:2] == "--"), refused)
        parser.error(_unknown_option(unknown, _names_of(parser)))
    return vars(values)


def _check_refused(names: Iterable[object], refused: dict[str, str]) -> None:
    """Raise InputError for the first name of an option of the original that is not accepted."""
    for name in names:
        if isinstance(name, str) and name in refused:
            raise InputError(f"--{name} {refused[name]}; leave it out")


@functools.cache
def make_parser(kinds: Kinds) -> "_Parser":
    """The parser of a tuple of dataclasses, to be left as it is. It raises InputError instead of ending a process."""
    formatter = argparse.ArgumentDefaultsHelpFormatter
    parser = _Parser(formatter_class=formatter, add_help=False, allow_abbrev=False)
    for item in fields_of(kinds).values():
        _add_option(parser, item)
    return parser


def _add_option(parser: argparse.ArgumentParser, item: dataclasses.Field) -> None:
    declared = declaration(item)
    kind, is_optional = _type_of(item)
    options: dict[str, Any] = {"default": item.default, "help": declared.help or None}
    if item.default is dataclasses.MISSING:
        options |= {"default": None, "required": True}
    choices: tuple = declared.choices
    if typing.get_origin(kind) is list:
        options["nargs"], kind = "+", typing.get_args(kind)[0]
        if typing.get_origin(kind) is list:
            options["action"], kind = "append", typing.get_args(kind)[0]
    elif issubclass(kind, Enum):
        choices, kind = tuple(each.value for each in kind), str
    elif kind is bool and not (is_optional and item.default is None):
        options |= {"nargs": "?", "const": True}
    names = [f"--{name}" for name in (item.name, *declared.aliases)]
    parser.add_argument(*names, dest=item.name, type=_checked(kind, choices, declared), **options)
    if kind is bool and item.default is True:
        off: dict[str, Any] = {"action": "store_false", "default": False, "help": declared.help or None}
        parser.add_argument(f"--no_{item.name}", dest=item.name, **off)


def _type_of(item: dataclasses.Field) -> tuple[Any, bool]:
    """The type of a field without None, and whether None is one of its types."""
    if typing.get_origin(item.type) not in (typing.Union, types.UnionType):
        return item.type, False
    (kind,) = (one for one in typing.get_args(item.type) if one is not type(None))
    return kind, True


def _is_file(word: str) -> bool:
    """True if a word names a YAML or JSON file of options."""
    return os.path.splitext(word)[1].lower() in _FILES and not word.startswith("-")


def _words_of_file(path: str, parser: "_Parser", refused: dict[str, str]) -> list[str]:
    """The keys and values of a YAML or JSON file as words of a command line.

    refused: name -> reason, of options of the original that are not accepted.

    Raises:
        InputError: it cannot be read, has unknown keys, or values of the wrong shape.
    """
    reader = _FILES[os.path.splitext(path)[1].lower()]
    values = reader(path, "training configuration", "a YAML or JSON file of options is needed")
    if not isinstance(values, dict):
        raise InputError(f"training configuration {path} holds {type(values).__name__}; keys and values are needed")
    known = _names_of(parser)
    _check_refused(values, refused)
    if unknown := sorted(set(values) - set(known), key=str):
        told = printable(", ".join(_with_nearest(key, sorted(known)) for key in unknown), MOST_MESSAGE)
        raise InputError(f"unknown keys in {path}: {told}; {ACCEPTED}")
    lists = {action.dest for action in parser._actions if action.nargs == "+"}
    return [word for key, value in values.items() if value is not None for word in _words(path, key, value, lists)]


def _names_of(parser: argparse.ArgumentParser) -> list[str]:
    """All names of options, without those that turn one off."""
    actions = [action for action in parser._actions if not isinstance(action, argparse._StoreFalseAction)]
    return [name.removeprefix("--") for action in actions for name in action.option_strings]


def _with_nearest(key: object, known: list[str]) -> str:
    near = nearest(key, known) if isinstance(key, str) else None
    return (printable(key, 80) if isinstance(key, str) else shown(key)) + (f" (did you mean {near}?)" if near else "")


def _unknown_option(words: Sequence[str], known: Iterable[str]) -> str:
    """What is said of words that no option takes: the first option, and which is the nearest to it."""
    word = next((word for word in words if word.startswith("-")), None)
    if word is None:
        return f"{shown(words[0])} is neither an option nor the value of one"
    name = word.partition("=")[0]
    near = nearest(name, known)
    return f"there is no option {shown(name)}" + (f"; did you mean --{near}?" if near else "")


def _words(path: str, key: str, value: Any, lists: set[str]) -> list[str]:
    if isinstance(value, list) and key in lists:
        texts = [_text(path, key, item) for item in value]
        if not texts or any(text.startswith("-") for text in texts):
            raise InputError(f"{key} in {path} is {shown(value)}; a list of values is accepted")
        return [f"--{key}", *texts]
    return [f"--{key}={_text(path, key, value)}"]


def _text(path: str, key: str, value: Any) -> str:
    if isinstance(value, (list, dict)) or value is None:
        raise InputError(f"{key} in {path} is {shown(value)}; one value is accepted")
    return json.dumps(value) if isinstance(value, bool) else str(value)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> typing.NoReturn:
        message = re.sub(r"^argument ([^\s/]+)\S*: ", r"\1: ", message)
        raise InputError(f"{printable(' '.join(message.split()), MOST_MESSAGE)}; {ACCEPTED}")

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        if action.option_strings and "--" in arg_strings:
            # Python leaves these dashes out, wherever they stand, and the option gets an empty list.
            raise argparse.ArgumentError(action, "'--' is no value")
        return super()._get_values(action, arg_strings)


def _checked(kind: Any, choices: tuple, declared: Option) -> Callable[[str], Any]:
    """A conversion for argparse that refuses what is no finite, bounded value, in a short message.

    Numbers with bounds of their own are left to `check_bounds`, unless they are too long to be computed with.
    """
    accepted = f"{-_LARGEST} to {_LARGEST - 1} is accepted" if declared.lower is None else accepted_of(declared)
    convert = _to_bool if kind is bool else kind

    def check(text: str) -> Any:
        if kind is int and _is_long_number(text):
            raise argparse.ArgumentTypeError(f"{shown(text)} is a number of {len(text)} digits; {accepted}")
        try:
            value = convert(text)
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise argparse.ArgumentTypeError(f"{shown(text)} is not {_WORDS[kind]}") from error
        if isinstance(value, float) and not math.isfinite(value):
            raise argparse.ArgumentTypeError(f"{shown(text)} is not a finite number")
        if isinstance(value, int) and not -_LARGEST <= value < _LARGEST:
            raise argparse.ArgumentTypeError(f"{shown(text)} is too {'small' if value < 0 else 'large'}; {accepted}")
        if isinstance(value, str):
            _check_text(value)
        if choices and value not in choices:
            raise argparse.ArgumentTypeError(f"{shown(text)} is not known; {any_of(choices)} is accepted")
        return value

    return check


def _to_bool(text: str) -> bool:
    if text.lower() not in _TRUE + _FALSE:
        raise ValueError(text)
    return text.lower() in _TRUE


def _is_long_number(text: str) -> bool:
    return len(text) > _MOST_DIGITS and text.lstrip("+-").isdecimal()


def _check_text(value: str) -> None:
    """Every text may become a part of a file's name."""
    try:
        possible = b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        possible = False
    if not possible:
        raise argparse.ArgumentTypeError(f"{shown(value)} is no text that a file's name can have")
