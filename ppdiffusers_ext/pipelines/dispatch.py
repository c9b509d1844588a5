"""Has `ppdiffusers.DiffusionPipeline.from_pretrained` open the folders of this project's pipelines.

ppdiffusers looks up a pipeline's class in its own package, and would load its parts in its own way. Here the base
class hands folders of ours to the class that they are of; what is a folder of ppdiffusers' goes on to ppdiffusers.
A name that is no folder is an error: the class of a pipeline is not asked of another computer. Classes of
ppdiffusers' own pipelines, such as its `StableDiffusionPipeline`, are as they were.
"""

import functools
import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

from ppdiffusers_ext.weights.pretrained import after_import

_INDEX = "model_index.json"


def serve_folders() -> None:
    """Do so, as soon as ppdiffusers is imported, or at once where it is."""
    after_import("ppdiffusers.pipelines.pipeline_utils", _change)


def _change(module: ModuleType) -> None:
    base = module.DiffusionPipeline
    original = base.from_pretrained.__func__

    @functools.wraps(original)
    def from_pretrained(cls: Any, pretrained_model_name_or_path: Any, **options: Any) -> Any:
        if cls is base:
            found = find_pipeline(pretrained_model_name_or_path)
            if found is not None:
                return found.from_pretrained(pretrained_model_name_or_path, **options)
        return original(cls, pretrained_model_name_or_path, **options)

    base.from_pretrained = classmethod(from_pretrained)


def find_pipeline(folder: Any) -> Any:
    """The class of this project whose `from_pretrained` reads a folder; None for a folder of ppdiffusers' own.

    Raises:
        MissingFileError, InputError: there is no such folder, or it is of no pipeline at all.
    """
    from ppdiffusers_ext.errors import MissingFileError, shown_path
    from ppdiffusers_ext.models.strict import local_folder
    from ppdiffusers_ext.pipelines.registry import PIPELINES

    path = local_folder(folder)
    name = _class_name(path)
    for pipeline in PIPELINES:
        if pipeline.__name__ == name:
            return pipeline
    for pipeline in PIPELINES:  # the original's files, with or without an index of diffusers
        if pipeline.recognises(path):
            return pipeline
    if not os.path.lexists(path / _INDEX):
        raise MissingFileError(
            f"folder {shown_path(path)} has no {_INDEX}, nor files of a system that is known here; "
            "the folder of a pipeline is needed"
        )
    return None


def _class_name(folder: Path) -> Any:
    """What a folder's index says; what is wrong with it is told by who reads it."""
    from ppdiffusers_ext.errors import InputError
    from ppdiffusers_ext.files import read_json

    try:
        index = read_json(folder / _INDEX, "pipeline index", "that of a pipeline is needed")
    except (InputError, json.JSONDecodeError):
        return None
    return index.get("_class_name") if isinstance(index, dict) else None
