"""The folder of a network as ppdiffusers, diffusers and transformers lay it out: `config.json` and a weight file.

It is read without Paddle, so that missing files are told at once.
"""

import os
from pathlib import Path
from typing import Any

from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.files import check_file, check_name, read_json
from ppdiffusers_ext.packaged import located
from ppdiffusers_ext.weights.shards import INDEX_SUFFIX

_FOLDER_FILES = (
    "model_state.safetensors",
    "diffusion_paddle_model.safetensors",
    "diffusion_pytorch_model.safetensors",
    "model.safetensors",
    "model_state.pdparams",
    "diffusion_pytorch_model.bin",
    "pytorch_model.bin",
)
# Where there is none of these, the index of one that is in several files.
_INDICES = tuple(f"{name}{INDEX_SUFFIX}" for name in _FOLDER_FILES)


def find_weights(folder: str | os.PathLike) -> Path:
    """The weight file in a folder as ppdiffusers, diffusers or transformers lay it out, or the index of several.

    Raises:
        MissingFileError: there is none.
    """
    folder = Path(located(check_name(folder, "folder of weights", "a folder of weights or a weight file is needed")))
    if os.path.isfile(folder):
        return folder
    for name in (*_FOLDER_FILES, *_INDICES):
        if os.path.lexists(folder / name):
            return check_file(folder / name, "weight file", "a weight file or an index of several is needed")
    raise MissingFileError(
        f"there are no weights in {folder}; one of {', '.join(_FOLDER_FILES)} is needed, or the index of one in "
        f"several files, which ends in {INDEX_SUFFIX}"
    )


def read_config(path: str | os.PathLike, may_be_infinite: bool = False) -> dict[str, Any]:
    """The dict in a `config.json`, given the file or its folder.

    Args:
        path: str or Path.
        may_be_infinite: whether Infinity is a number there, as in the files that diffusers writes for samplers.

    Raises:
        MissingFileError, InputError: there is no such file, or it is none that can be read, or no JSON object.
    """
    path = Path(located(check_name(path, "model configuration", "a config.json is needed")))
    path = path / "config.json" if os.path.isdir(path) else path
    config = read_json(path, "model configuration", "a config.json is needed", may_be_infinite=may_be_infinite)
    if not isinstance(config, dict):
        raise InputError(f"model configuration {path} holds a {type(config).__name__}; a JSON object is needed")
    return config
