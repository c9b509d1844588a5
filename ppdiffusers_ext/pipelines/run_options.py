"""Options of runs, as pipelines are opened by them from Python: YAML files, objects, and what training wrote."""

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from ppdiffusers_ext.data.outputs import output_file
from ppdiffusers_ext.errors import InputError, check_keys, shown
from ppdiffusers_ext.files import check_all_there, read_yaml
from ppdiffusers_ext.options import by_field, check_options, key_names, merge

# What training writes into its output folder and each checkpoint: options of the pipeline that it trains.
TRAINED = "pipeline.yaml"


def read_config_of_run(kind: Any, options: Any, given: dict, others: Iterable[str], name: str) -> Any:
    """The configuration of a pipeline's `from_options`.

    Args:
        kind: class of the system's options.
        options: name of a YAML file, or an instance of `kind`.
        given: options that go before these; None is no value.
        others: names of arguments beside options, for messages.
        name: of the pipeline's class, for messages.

    Raises:
        MissingFileError, InputError: no such file, or keys or values that are not accepted.
    """
    given = merge({key: os.fspath(value) if isinstance(value, os.PathLike) else value for key, value in given.items()})
    check_keys(given, [*others, *key_names(kind)], f"option of {name}.from_options")
    given, _ = by_field(kind, given, f"option of {name}.from_options")
    if isinstance(options, kind):
        config = replace(options, **given)
    elif isinstance(options, (str, os.PathLike)):
        config = kind.load(options, **given)
    else:
        raise InputError(
            f"options are {shown(options)}; the name of a YAML file or a {kind.__name__} is accepted by "
            f"{name}.from_options"
        )
    check_options(config)
    return config


def is_of_training(folder: Path, key: str) -> bool:
    """True if a folder has the options that a run of training wrote, with this key among them."""
    return os.path.lexists(folder / TRAINED) and key in read_yaml(folder / TRAINED)


def read_trained(kind: Any, folder: Path, names: Iterable[str], options: dict) -> Any:
    """The configuration in a folder that training wrote; the paths of fields `names` are relative to the folder.

    Raises:
        MissingFileError, InputError: as `kind.load`; files or folders that the configuration names are missing.
    """
    config = kind.load(folder / TRAINED, **options)
    paths = {name: str(folder / value) for name in names if (value := getattr(config, name))}
    check_all_there(list(paths.items()), f"{folder / TRAINED} names them, where their new paths are accepted")
    return replace(config, **paths)


def trained_file(path: str, key: str) -> str:
    """The file of a network's weights, where its option names a folder that training wrote; else the path itself.

    Args:
        path: value of an option.
        key: the option's, which a folder of training has in its `TRAINED`.

    Raises:
        MissingFileError, InputError: the folder's options cannot be read, or the file that they name is missing.
    """
    folder = Path(path)
    if not path or not is_of_training(folder, key):
        return path
    name = read_yaml(folder / TRAINED)[key]
    if not isinstance(name, str):
        raise InputError(f"{folder / TRAINED}: {key} is {shown(name)}; the name of a weight file is accepted")
    check_all_there([(key, folder / name)], f"{folder / TRAINED} names it, where its new path is accepted")
    return str(folder / name)


def write_trained(folder: str | os.PathLike, options: dict) -> None:
    """Write the options of the pipeline that a run of training has trained into a folder of its output.

    Args:
        folder: of a checkpoint, or that of the output.
        options: key -> value; files in the folder by name, others by an absolute path.
    """
    with output_file(Path(folder) / TRAINED) as temporary:
        text = yaml.safe_dump(merge(options), sort_keys=False, allow_unicode=True)
        Path(temporary).write_text(text, encoding="utf-8")


def absolute(path: str | os.PathLike | None) -> str | None:
    """A path that is the same from every working directory; None for none."""
    return os.path.abspath(path) if path else None
