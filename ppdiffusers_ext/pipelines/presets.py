"""Presets: what a faster result may cost, as short YAML files in `ppdiffusers_ext/presets`.

A preset sets keyword arguments of a pipeline's `__call__`, which are keys of its command's YAML file too. A system
that is sped up in other ways than UNets are has a folder of its own; its knobs are those of its preset "exact". The
key `expected` says in words what a preset gains, and what it costs.
"""

import copy
import functools
import os
from pathlib import Path
from typing import Any

from ppdiffusers_ext.errors import InputError, check_keys, shown, shown_path
from ppdiffusers_ext.files import read_yaml

FOLDER = Path(__file__).parents[1] / "presets"
KNOBS = (
    "guidance_interval",
    "step_cache_interval",
    "step_cache_depth",
    "context_overlap",
    "context_schedule",
)
EXPECTED = "expected"


def preset_names(system: str = "") -> list[str]:
    """The presets that there are, the slowest and most exact one first; for `system` see `read_preset`."""
    order = ("exact", "balanced", "fast")
    return sorted((path.stem for path in (FOLDER / system).glob("*.yaml")), key=order.index)


def read_preset(preset: Any, system: str = "") -> dict[str, Any]:
    """The knobs of a preset: name -> value.

    Args:
        preset: a name, or the path of a YAML file of the user's own.
        system: the folder of one that has presets of its own; left out for the others.

    Raises:
        InputError: no such preset, or a knob that is not known.
    """
    values = _read(preset, system)
    values.pop(EXPECTED, None)
    return values


def tell_preset(preset: str, system: str = "") -> str:
    """Words for a preset, and for what is expected of it if its file says so: none for "exact"; see `read_preset`."""
    if preset == "exact":
        return ""
    expected = _read(preset, system).get(EXPECTED)
    return f", preset {shown_path(preset)}" + (f" ({expected})" if expected else "")


def _read(preset: Any, system: str) -> dict[str, Any]:
    names = _shipped_names(system)
    accepted = f"one of {', '.join(names)}, or a YAML file, is accepted"
    if preset in names:
        return copy.deepcopy(_read_shipped(preset, system))
    if str(preset).endswith((".yaml", ".yml")):
        return _read_file(preset, system, accepted)
    raise InputError(f"preset {shown(preset)} {_problem_of(preset)}; {accepted}")


@functools.cache
def _shipped_names(system: str) -> tuple[str, ...]:
    return tuple(preset_names(system))


@functools.cache  # options read it whenever they are made: some dozen times for each job of a list
def _read_shipped(name: str, system: str) -> dict[str, Any]:
    return _read_file(FOLDER / system / f"{name}.yaml", system, "a YAML file that ships is needed")


def _read_file(path: Any, system: str, accepted: str) -> dict[str, Any]:
    values = read_yaml(path, "preset", accepted)
    knobs = read_yaml(FOLDER / system / "exact.yaml", "preset", accepted) if system else KNOBS
    check_keys(values, [*knobs, EXPECTED], f"knob in preset {shown_path(path)}")
    if not isinstance(values.get(EXPECTED, ""), str):
        raise InputError(f"preset {shown_path(path)}: {EXPECTED} is {shown(values[EXPECTED])}; words are accepted")
    return values


def _problem_of(preset: object) -> str:
    """What is wrong with a name that is none of a preset."""
    if not isinstance(preset, (str, Path)) or not os.path.exists(preset):  # False for names with NUL, too
        return "does not exist"
    return "is a folder" if os.path.isdir(preset) else "is a file whose name does not end in .yaml"
