"""The YAML file of a run: settings and thresholds of each step.

    motion:
      settings: {samples_per_second: 2}     # fields of the step's class
      thresholds:
        motion_speed: {min: 0.01, max: 2}   # of a column; both bounds pass
        motion_score: null                  # takes away what the system asks for

A list of numbers is reduced by `reduce`: mean (if left out), min or max.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from ppdiffusers_ext.data.chain.filtering import Bounds, bounds_of
from ppdiffusers_ext.data.chain.steps import Step
from ppdiffusers_ext.data.chain.tables import holds
from ppdiffusers_ext.data.outputs import output_file
from ppdiffusers_ext.errors import InputError, check_keys, shown, shown_path
from ppdiffusers_ext.files import read_yaml
from ppdiffusers_ext.options import check_values

SETTINGS, THRESHOLDS = "settings", "thresholds"
OPTIONS = "options"  # field of a step whose settings are options of the run
AnyStep = TypeVar("AnyStep", bound=Step)

Config = Mapping[str, Mapping[str, Any]]


def read_config(path: Any, known: Iterable[str]) -> Config:
    """What a file says of each step.

    Args:
        path: of the YAML file.
        known: names of all steps.

    Raises:
        MissingFileError, InputError: no such file, or it says what is not known.
    """
    config = read_yaml(path, "configuration", "a YAML file of steps, each with settings and thresholds, is needed")
    check_keys(config, known, f"step in {shown_path(path)}")
    for name, section in config.items():
        if section is not None:
            check_keys(section, (SETTINGS, THRESHOLDS), f"key of {name} in {shown_path(path)}")
    return {name: section or {} for name, section in config.items()}


def with_settings(step: AnyStep, config: Config, path: Any) -> AnyStep:
    """A step with the settings of a configuration in place of its own. Raises InputError for what it does not have."""
    settings = config.get(step.name, {}).get(SETTINGS) or {}
    fields = [item.name for item in dataclasses.fields(step) if item.init and item.name != OPTIONS]
    check_keys(settings, fields, f"setting of {step.name} in {shown_path(path)}")
    check_values(type(step), settings, path, {name: f"{step.name}.{name}" for name in settings})
    tuples = {name: tuple(value) for name, value in settings.items() if isinstance(value, list)}
    return dataclasses.replace(step, **{**settings, **tuples})


def thresholds_of(
    names: Iterable[str], config: Config, asked: Mapping[str, Mapping[str, Any]], path: Any
) -> dict[str, dict[str, Bounds]]:
    """Step -> column -> `Bounds`, of those steps that run.

    Args:
        names: of the steps.
        config: of `read_config`.
        asked: what the system asks for, in the same form: the file goes first.
    """
    found: dict[str, dict[str, Bounds]] = {}
    for name in names:
        own = config.get(name, {}).get(THRESHOLDS) or {}
        if not isinstance(own, dict):
            raise InputError(f"thresholds of {name} in {shown_path(path)} are {shown(own)}; a mapping is accepted")
        columns = {**asked.get(name, {}), **own}
        found[name] = {
            str(column): bounds_of(values, f"threshold {name}.{column} in {shown_path(path)}")
            for column, values in columns.items()
            if values is not None
        }
    return found


def write_config(
    path: Path, steps: Iterable[Step], thresholds: Mapping[str, Mapping[str, Bounds]], head: Mapping[str, Any]
) -> None:
    """Write what a run was made with, as a file that `read_config` reads; the options of the command as comments.

    Args:
        head: name of an option -> its value.
    """
    sections: dict[str, Any] = {}
    for step in steps:
        bounds = {
            column: {name: value for name, value in dataclasses.asdict(each).items() if value is not None}
            for column, each in thresholds.get(step.name, {}).items()
        }
        fields = {item.name for item in dataclasses.fields(step)}
        settings = {name: value for name, value in step.settings().items() if name in fields}
        sections[step.name] = {SETTINGS: settings, **({THRESHOLDS: bounds} if bounds else {})}
    comments = [f"# {name}: {value!r}" for name, value in head.items()]
    text = yaml.safe_dump(_plain(sections), sort_keys=False, allow_unicode=True)
    content = "\n".join([*comments, text])
    if not holds(path, content.encode()):
        with output_file(path) as temporary:
            Path(temporary).write_text(content, encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
