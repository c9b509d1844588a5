"""From declared options (`options.Option`) to inputs of nodes, and back: types, bounds, defaults, help as tooltips.

An option whose default is None has a value that stands for "not given": the number below its bounds, the word
`UNSET`, or an empty text. What is not given is as the model's file, a preset or a rung of the memory ladder says.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any

from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.options import check_values, declaration, field_of, kind_of
from ppdiffusers_ext.pipelines.options import read_interval

UNSET = "unset"
_STEP = 0.001  # of the arrows beside a number
_MOST_WHOLE = 2**63 - 1  # where there is no bound
_MOST = 1e6
_LONG = ("prompt", "negative_prompt")
_TRUTH = {"true": True, "false": False}


def names(cls: type, groups: Iterable[str], without: Iterable[str] = ()) -> list[str]:
    """The fields of some groups that a node can show, in order: none that names a file, a mapping or a list of pairs.

    Args:
        groups: headings of options.
        without: names that are left out.
    """
    without, groups = frozenset(without), frozenset(groups)
    return [
        item.name
        for item in dataclasses.fields(cls)
        if (of := declaration(item)).group in groups
        and not of.is_path
        and item.name not in without
        and (kind_of(item) in (int, float, str, bool) or of.read is read_interval)
    ]


def widgets(cls: type, names: Iterable[str]) -> dict[str, tuple]:
    """Inputs of a node, as `INPUT_TYPES` gives them, of some fields of a dataclass of options."""
    return {name: widget(cls, name) for name in names}


def widget(cls: type, name: str) -> tuple:
    """The input of one field: (type, or list of choices, and a dict of what ComfyUI shows)."""
    item = field_of(cls, name)
    declared, kind, has_default = declaration(item), kind_of(item), item.default is not None
    told: dict[str, Any] = {"tooltip": _tooltip(item)}
    if declared.choices or (kind is bool and not has_default):
        choices = list(declared.choices) or [*_TRUTH]
        choices = choices if has_default else [UNSET, *choices]
        return choices, {"default": item.default if has_default else UNSET, **told}
    if kind is bool:
        return "BOOLEAN", {"default": item.default, **told}
    if kind in (int, float):
        return _number(item, kind, told)
    return "STRING", {"default": item.default or "", "multiline": name in _LONG, **told}


def _number(item: dataclasses.Field, kind: type, told: dict[str, Any]) -> tuple:
    declared, is_whole = declaration(item), kind is int
    lower, upper = declared.lower, declared.upper
    most = _MOST_WHOLE if is_whole else _MOST
    default: Any = _unset_number(item) if item.default is None else item.default
    least = 0 if lower is None else lower  # no declared number without a bound is negative
    bounds = {"min": kind(min(least, default)), "max": kind(most if upper is None else upper)}
    return "INT" if is_whole else "FLOAT", {
        "default": kind(default),
        **bounds,
        "step": 1 if is_whole else _STEP,
        **told,
    }


def _unset_number(item: dataclasses.Field) -> int:
    """The number that stands for none: 0, or -1 where 0 is a value."""
    lower = declaration(item).lower
    return 0 if lower is not None and lower > 0 else -1


def _tooltip(item: dataclasses.Field) -> str:
    declared, kind = declaration(item), kind_of(item)
    if item.default is not None:
        return declared.help
    if kind in (int, float):
        stands = str(_unset_number(item))
    else:
        stands = UNSET if declared.choices or kind is bool else "empty"
    return f"{declared.help} ({stands}: {declared.unset or 'not given'})"


def given(cls: type, values: dict[str, Any]) -> dict[str, Any]:
    """What the values of inputs say: field -> value, of those that are given, checked.

    Args:
        values: field of the dataclass -> value of its input.

    Raises:
        InputError: a value that is not accepted.
    """
    found = {name: _value(field_of(cls, name), value) for name, value in values.items()}
    found = {name: value for name, value in found.items() if value is not None}
    check_values(cls, found)
    return found


def _value(item: dataclasses.Field, value: Any) -> Any:
    """The option's value of an input's; None for one that is not given."""
    kind, is_text = kind_of(item), isinstance(value, str)
    if item.default is not None:
        return value
    if kind in (int, float):
        return None if value == _unset_number(item) and not isinstance(value, bool) else value
    if value is None or (is_text and value in ("", UNSET)):
        return None
    if kind is list and is_text:
        return read_interval(value.split())
    if kind is bool:
        if value not in _TRUTH:
            raise InputError(f"{item.name} is {shown(value)}; {UNSET}, true or false is accepted")
        return _TRUTH[value]
    return value
