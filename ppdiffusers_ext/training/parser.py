"""Parser of the trainers' options, from a command line and from YAML or JSON files.

A file's keys are the options' names, and its values are converted as on a command line. Options after the file
override its values. Whatever cannot be used raises InputError before anything is computed.
"""

import argparse
import dataclasses
import functools
import json
import math
import os
import re

from paddlenlp.trainer import PdArgumentParser
from paddlenlp.trainer.integrations import INTEGRATION_TO_CALLBACK

from ppdiffusers_ext.errors import InputError, printable, shown
from ppdiffusers_ext.options import any_of
from ppdiffusers_ext.training.bounds import BOUNDS, accepted_of, check_bounds, check_output_folder, check_use
from ppdiffusers_ext.training.declared import ACCEPTED, is_file, read_file, unknown_option

_LARGEST = 2**63
_MOST_DIGITS = 1000
_MOST_MESSAGE = 400
_KINDS = {"int": "a whole number", "float": "a number", "strtobool": "true or false", "str": "a text"}


def parse_arguments(arguments, kinds):
    """The three dataclasses from a command line, which may begin with a YAML or JSON file of options.

    Args:
        arguments: list of texts.
        kinds: dataclasses of the model, the data and the training.

    Raises:
        InputError: unknown options, or values that cannot be used.
    """
    given = read_options(arguments, kinds)
    check_bounds(given)
    check_use(given, {item.name: item.default for item in dataclasses.fields(kinds[-1])})
    check_output_folder("output_dir", given["output_dir"])
    if given["logging_dir"]:
        check_output_folder("logging_dir", given["logging_dir"])
    model, data, training = (_build(kind, given) for kind in kinds)
    _check_trackers(training.report_to)
    if training.recompute:  # paddlenlp's word for it
        model.gradient_checkpointing = True
    data.check()
    cases = getattr(data, "validation_clips", 1) + bool(getattr(data, "validation_image", None))
    if training.validation_steps and cases < 1:
        raise InputError("validation needs --validation_steps of 1 or more and --validation_clips of 1 or more")
    return model, data, training


def read_options(arguments, kinds):
    """Returns the values of all options by name, with the right types but without checks of their bounds.

    Raises:
        InputError: unknown options, values of another type, a file that cannot be read.
    """
    parser = make_parser(kinds)
    path = str(arguments[0]) if arguments else ""
    if is_file(path):
        lists = {action.dest for action in parser._actions if action.nargs == "+"}
        arguments = [*_words_of_file(path, kinds, lists), *arguments[1:]]
    aliases = _aliases(kinds)
    values, unknown = parser.parse_known_args([_own_name(str(word), aliases) for word in arguments])
    if unknown:
        parser.error(unknown_option(unknown, [*vars(values), *aliases]))
    return vars(values)


@functools.cache
def make_parser(kinds):
    """The parser of a tuple of dataclasses, to be left as it is. It raises InputError instead of ending a process."""
    parser = _Parser(kinds, add_help=False, allow_abbrev=False)
    for action in parser._actions:
        action.type = _checked(action.type, action.choices, action.dest) if action.type else None
        action.choices = None
    return parser


def _words_of_file(path, kinds, lists):
    """The keys and values of a YAML or JSON file as words of a command line.

    Args:
        lists: names of the options that take several values.

    Raises:
        InputError: it cannot be read, has unknown keys, or values of the wrong shape.
    """
    known = {item.name for kind in kinds for item in dataclasses.fields(kind) if item.init}
    values = read_file(str(path), known)
    return [word for key, value in values.items() if value is not None for word in _words(path, key, value, lists)]


def _words(path, key, value, lists):
    if isinstance(value, list) and key in lists:
        texts = [_text(path, key, item) for item in value]
        if not texts or any(text.startswith("-") for text in texts):
            raise InputError(f"{key} in {path} is {shown(value)}; a list of values is accepted")
        return [f"--{key}", *texts]
    return [f"--{key}={_text(path, key, value)}"]


def _text(path, key, value):
    if isinstance(value, (list, dict)) or value is None:
        raise InputError(f"{key} in {path} is {shown(value)}; one value is accepted")
    return json.dumps(value) if isinstance(value, bool) else str(value)


def _aliases(kinds):
    return {name: own for kind in kinds for name, own in getattr(kind, "ALIASES", {}).items()}


def _own_name(word, aliases):
    """A word with the project's name of an option in the place of another one: the later one of both counts."""
    name, equals, value = word.partition("=")
    own = aliases.get(name.removeprefix("--")) if name.startswith("--") else None
    return f"--{own}{equals}{value}" if own else word


class _Parser(PdArgumentParser):
    def error(self, message):
        message = re.sub(r"^argument (\S+): ", r"\1: ", message)
        raise InputError(f"{printable(' '.join(message.split()), _MOST_MESSAGE)}; {ACCEPTED}")

    def _get_values(self, action, arg_strings):
        if action.option_strings and "--" in arg_strings:
            # Python leaves these dashes out, wherever they stand, and the option gets an empty list.
            raise argparse.ArgumentError(action, "'--' is no value")
        return super()._get_values(action, arg_strings)


def _checked(convert, choices, name):
    """A conversion of argparse that refuses what is no finite, bounded value, in a short message.

    Numbers of options in `BOUNDS` are left to `check_bounds`, unless they are too long to be computed with.
    """
    accepted = accepted_of(name) if name in BOUNDS else f"{-_LARGEST} to {_LARGEST - 1} is accepted"
    kind = _KINDS.get(getattr(convert, "__name__", ""), "a value")

    def check(text):
        if kind == _KINDS["int"] and _is_long_number(text):
            raise argparse.ArgumentTypeError(f"{shown(text)} is a number of {len(text)} digits; {accepted}")
        try:
            value = convert(text)
        except (ValueError, TypeError, OverflowError, RecursionError, argparse.ArgumentTypeError) as error:
            raise argparse.ArgumentTypeError(f"{shown(text)} is not {kind}") from error
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


def _is_long_number(text):
    return len(text) > _MOST_DIGITS and text.lstrip("+-").isdecimal()


def _check_text(value):
    """Every text may become a part of a file's name."""
    try:
        possible = b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        possible = False
    if not possible:
        raise argparse.ArgumentTypeError(f"{shown(value)} is no text that a file's name can have")


def _build(kind, given):
    """A dataclass with its fields' values. What its own checks, or paddlenlp's, raise becomes an InputError."""
    values = {item.name: given[item.name] for item in dataclasses.fields(kind) if item.init}
    try:
        return kind(**values)
    except InputError:
        raise
    except Exception as error:
        # paddlenlp checks its options by whatever is raised while it sets up devices and processes.
        reason = printable(" ".join(str(error).split()), _MOST_MESSAGE) or type(error).__name__
        raise InputError(f"the options cannot be used together: {reason}; {ACCEPTED}") from error


def _check_trackers(names):
    """Raise an InputError for a place to report to that is not known, or whose package is missing."""
    for name in names:
        if name not in INTEGRATION_TO_CALLBACK:
            raise InputError(f"--report_to {shown(name)} is not known; none, all, visualdl, tensorboard are accepted")
        try:
            INTEGRATION_TO_CALLBACK[name]()
        except (RuntimeError, ImportError) as error:
            raise InputError(f"--report_to {name} needs a package that is not installed; visualdl is") from error
