"""Which models a loader offers, and where their files are."""

import dataclasses
import os
from pathlib import Path
from typing import Any

from ppdiffusers_ext import packaged
from ppdiffusers_ext.comfyui.host import model_folders
from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.options import any_of, declaration
from ppdiffusers_ext.pipelines.options import MODEL

_MOST_NAMES = 200
_GROUPS = (MODEL, "Face", "Face optimisation")  # of options that may name weights


def configured_names(kind: str) -> list[str]:
    """Names of the YAML files of models in ComfyUI's folder of a kind, such as models/AnimateAnyone."""
    found = (path for folder in model_folders(kind) for path in folder.glob("*.yaml") if path.is_file())
    return sorted({path.name for path in found})[:_MOST_NAMES]


def configured_file(kind: str, name: str) -> Path | None:
    """The YAML file of a name of `configured_names`; None for any other."""
    if name not in configured_names(kind):
        return None
    return next(path for folder in model_folders(kind) if (path := folder / name).is_file())


def check_known(name: object, known: list[str]) -> None:
    """Raises InputError for a model that a loader does not offer."""
    if name not in known:
        raise InputError(f"model {shown(name)} is not known; {any_of(known)} is accepted")


def with_found_files(config: Any) -> Any:
    """Options whose relative paths of weights are found from ComfyUI's folder, or else from this project's.

    Args:
        config: instance of a dataclass of options.
    """
    return dataclasses.replace(config, **{name: found_path(value) for name, value in _paths(config)})


def _paths(config: Any) -> list[tuple[str, str]]:
    return [
        (item.name, value)
        for item in dataclasses.fields(config)
        if (of := declaration(item)).is_path and of.group in _GROUPS and (value := getattr(config, item.name))
    ]


def found_path(path: str) -> str:
    """A relative path as it is, or that of the same file in this project's folder where only that is there."""
    beside = packaged.FOLDER / path
    return path if os.path.exists(packaged.located(path)) or not beside.exists() else str(beside)
