"""YAML files that people write: read without executing anything, and checked key by key."""

import difflib
from pathlib import Path

import yaml

from ppdiffusers_ext.errors import InputError, MissingFileError


def read_yaml(path):
    """The mapping in a YAML file.

    Raises:
        MissingFileError: no such file.
        InputError: not YAML, or something else than a mapping.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"configuration {path} does not exist; a YAML file is needed")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"configuration {path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise InputError(f"configuration {path} holds {type(values).__name__}; a mapping of keys to values is needed")
    return values


def check_keys(values, known, what):
    """Refuse keys that are not known, naming the nearest that is.

    Raises:
        InputError: there is such a key.
    """
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.0)[0]
            raise InputError(f"unknown {what}: {key!r}; did you mean {near!r}?")
