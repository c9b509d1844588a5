"""Flags of a command, made from the declarations of options in the library, and the values that were given."""

import argparse
import contextlib
import dataclasses
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.options import Option, any_of, check_values, declaration, kind_of, option, path_option

_METAVARS: dict[type | None, str] = {int: "N", float: "X", str: "TEXT"}
TRUTH = {"true": True, "false": False}


@dataclasses.dataclass(frozen=True, kw_only=True)
class CommandOptions:
    """Options of every command. Each command declares its own in a dataclass of this one."""

    debug: bool = option(False, help="show the traceback of an error, and all log lines")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckpointOptions(CommandOptions):
    """Options of a command that reads weight files; `command.run` observes the key."""

    checkpoint_key: str | None = option(
        None,
        help="name of the tensors to read where a weight file has several dicts of them, such as ema",
        unset="state_dict, the averaged ones, model; docs/weights.md",
        metavar="NAME",
    )


def log_option() -> Any:
    """The option of a file of events, which `command.run` observes."""
    return path_option(None, help="file to which a line of JSON is appended for each event: stages, failures, memory")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConfigOptions(CheckpointOptions):
    """Options of a command that runs a system, whose own options go over the keys of a YAML file.

    given: what was typed for the system's options, for `given_options`.
    """

    config: str | None = path_option(None, help="YAML file of the model", unset="that of the released one")
    log_json: str | None = log_option()
    given: argparse.Namespace = dataclasses.field(default_factory=argparse.Namespace)


def tell_model(system: str, is_demo: bool) -> None:
    """Say on stderr where a run is of the small model that ships, for want of others."""
    if is_demo:
        print(
            "Model: the small demo model, which draws cartoon people; "
            f"`python scripts/download_weights.py --system {system}` fetches the released weights",
            file=sys.stderr,
        )


class _Store(argparse.Action):
    """Keeps what was typed after a flag, and which of its names the flag had."""

    def __init__(self, *strings: Any, repeats: bool = False, **settings: Any) -> None:
        super().__init__(*strings, **settings)
        self._repeats = repeats

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        values = self.const if self.const is not None and values in (None, []) else values
        if self._repeats:
            values = [*(getattr(namespace, self.dest) or []), values]
        setattr(namespace, self.dest, values)
        if option_string is not None:
            namespace.spelled = {**getattr(namespace, "spelled", {}), self.dest: option_string}


def add_options(
    parser: Any, cls: type, names: Sequence[str] | None = None, defaults: bool = True, is_whole: bool = False
) -> Any:
    """Add a flag for each declared field of a dataclass that has none yet; gives the parser back.

    Args:
        names: of the fields; all if left out.
        defaults: whether help texts tell the defaults: not where several systems have different ones.
        is_whole: whether there is no file that has what is not given: fields without a default are required.
    """
    groups = {"": parser, **{group.title: group for group in parser._action_groups}}
    for item in dataclasses.fields(cls):
        declared = declaration(item)
        is_asked = (names is None or item.name in names) and declared.help and declared.has_flag
        if is_asked and f"--{item.name.replace('_', '-')}" not in parser._option_string_actions:
            if declared.group not in groups:
                groups[declared.group] = parser.add_argument_group(declared.group)
            text = help_of(item, declared) if defaults else declared.help
            if declared.is_positional:
                _add_positional(parser, item, declared, text)
            else:
                _add_flags(groups[declared.group], item, declared, text, is_whole and is_required(item))
    return parser


def help_of(item: dataclasses.Field, declared: Option) -> str:
    """The help of a field, with what it takes and its default."""
    takes = f": {any_of(declared.choices)}" if declared.choices and declared.choices[0] not in declared.help else ""
    default = default_of(item, declared)
    return (f"{declared.help}{takes}" + (f" (default: {default})" if default else "")).replace("%", "%%")


def default_of(item: dataclasses.Field, declared: Option) -> str:
    """The words for the default of a field: those of None, or the value; "" for none that says anything."""
    if item.default in (None, "", dataclasses.MISSING) or isinstance(item.default, bool):
        return declared.unset
    return f"{item.default:g}" if isinstance(item.default, float) else str(item.default)


def flags_of(name: str, declared: Option) -> tuple[list[str], list[str]]:
    """The flags of a field, the one that is named in messages first, and old names after it: two lists."""
    old = [alias for alias in declared.aliases if alias != name]
    return [f"--{name.replace('_', '-')}", *declared.flags], [f"--{alias.replace('_', '-')}" for alias in old]


def is_required(item: dataclasses.Field) -> bool:
    return item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING


def _add_positional(parser: argparse.ArgumentParser, item: dataclasses.Field, declared: Option, text: str) -> None:
    takes: dict[str, Any] = {"nargs": "+"} if kind_of(item) is list else {} if is_required(item) else {"nargs": "?"}
    parser.add_argument(item.name, action=_Store, metavar=declared.metavar, help=text, **takes)


def _add_flags(group: Any, item: dataclasses.Field, declared: Option, text: str, required: bool) -> None:
    flags, old = flags_of(item.name, declared)
    known = group._option_string_actions
    settings = {"dest": item.name, "action": _Store, "repeats": declared.repeats, "required": required}
    if kind_of(item) is bool:
        settings |= {"nargs": "?", "const": "true", "metavar": "true|false"}
        off = [f"--no-{item.name.replace('_', '-')}", *declared.off]
        off = [flag for flag in off if flag not in known]
        group.add_argument(*off, dest=item.name, action=_Store, nargs=0, const="false", help=argparse.SUPPRESS)
    elif isinstance(declared.metavar, tuple):
        settings |= {"nargs": len(declared.metavar), "metavar": declared.metavar}
    else:
        settings["metavar"] = declared.metavar or (
            "FILE" if declared.is_path else _METAVARS.get(kind_of(item), "TEXT")
        )
        if declared.bare is not None:
            settings |= {"nargs": "?", "const": declared.bare}
    group.add_argument(*flags, help=_with_off(text, item, declared), **settings)
    if old := [flag for flag in old if flag not in known]:
        group.add_argument(*old, help=argparse.SUPPRESS, **settings)


def _with_off(text: str, item: dataclasses.Field, declared: Option) -> str:
    """The help of a switch that is on by default names the flag that turns it off."""
    if kind_of(item) is bool and item.default is True:
        return f"{text} (default; {(declared.off or (f'--no-{item.name}',))[0]} turns it off)"
    return text


def spelled(options: argparse.Namespace, name: str, item: dataclasses.Field | None = None) -> str:
    """The flag by which an option was given; the placeholder of one without a flag."""
    if item is not None and declaration(item).is_positional:
        return str(declaration(item).metavar)
    return getattr(options, "spelled", {}).get(name, f"--{name.replace('_', '-')}")


def given_options(options: argparse.Namespace, *classes: type) -> dict[str, Any]:
    """The values that were given for fields of dataclasses, checked: dict by name.

    Raises:
        InputError: a value that is not accepted, named by the flag as it was typed.
    """
    given: dict[str, object] = {}
    for cls in classes:
        own, names = {}, {}
        for item in dataclasses.fields(cls):
            if (typed := getattr(options, item.name, None)) is not None:
                own[item.name], names[item.name] = _value(item, typed), spelled(options, item.name, item)
        check_values(cls, own, names=names)
        given |= own
    return given


def refuse_others(
    options: argparse.Namespace, cls: type, others: Iterable[type], what: str, accepted: Iterable[str] = ()
) -> None:
    """Raises InputError for options that were given and that other dataclasses declare, but not this one.

    Args:
        what: whose options these are, for the message.
        accepted: names that are none of this dataclass and accepted nevertheless.
    """
    own = {item.name for item in dataclasses.fields(cls)}.union(accepted)
    names = dict.fromkeys(item.name for other in others for item in dataclasses.fields(other))
    foreign = [
        spelled(options, name) for name in names if name not in own and getattr(options, name, None) is not None
    ]
    if foreign:
        are = "is no option" if len(foreign) == 1 else "are no options"
        raise InputError(f"{', '.join(foreign)} {are} of {what}; docs/options.md lists those that are accepted")


def _value(item: dataclasses.Field, typed: Any) -> Any:
    declared, kind = declaration(item), kind_of(item)
    if not isinstance(typed, (str, list)):  # of a list of jobs, where it has a kind of its own
        return typed
    if declared.read is not None:
        return declared.read(typed)
    if isinstance(typed, list):
        return typed
    if kind is bool:
        return TRUTH.get(typed, typed)
    if kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(typed)
    return typed
