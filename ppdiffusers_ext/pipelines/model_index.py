"""The folder of a pipeline: what its model_index.json may say of each part, and the parts themselves.

ppdiffusers looks up classes by the names in that file, and imports the modules that it names. Here names are compared
with closed lists, and nothing is imported for them: each accepted class has a reader of its own. The lists are in the
classes of the pipelines (`folder_parts`): part -> libraries -> classes; a part without any may only be null.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from paddle import nn

from ppdiffusers_ext.errors import InputError, MissingFileError, shown
from ppdiffusers_ext.files import read_json
from ppdiffusers_ext.models.strict import check_class
from ppdiffusers_ext.pipelines.conversion import describe_own
from ppdiffusers_ext.pipelines.loading import describe_image_encoder, describe_vae, describe_video_vae
from ppdiffusers_ext.pipelines.schedulers import load_scheduler, scheduler_names
from ppdiffusers_ext.weights.folders import read_config

INDEX = "model_index.json"
_ACCEPTED = "the index of a pipeline, as save_pretrained writes it, is needed"

DIFFUSERS, OURS = ("ppdiffusers", "diffusers"), ("ppdiffusers_ext",)
TRANSFORMERS = ("ppdiffusers.transformers", "paddlenlp.transformers", "transformers", "ppdiffusers", "paddlenlp")
SCHEDULER = {(*DIFFUSERS, *OURS): tuple(scheduler_names())}
CLIP = {TRANSFORMERS: ("CLIPVisionModelWithProjection",)}
PICTURE_VAE = {DIFFUSERS: ("AutoencoderKL",)}
VIDEO_VAE = {DIFFUSERS: ("AutoencoderKLTemporalDecoder",)}

# Class -> what makes the `Part` of a folder and a dtype.
_READERS: dict[str, Callable] = {
    "AutoencoderKL": describe_vae,
    "AutoencoderKLTemporalDecoder": describe_video_vae,
    "CLIPVisionModelWithProjection": describe_image_encoder,
}


def own(cls: type) -> dict[tuple[str, ...], tuple[str, ...]]:
    """The entry, in a list of parts, of one of this project's networks, which is read by its own configuration."""
    _READERS[cls.__name__] = functools.partial(describe_own, cls=cls)
    return {OURS: (cls.__name__,)}


_FLAGS = ("requires_safety_checker", "requires_aesthetics_score", "force_zeros_for_empty_prompt")


def read_index(folder: Path, pipeline: Any, is_needed: bool = True) -> dict[str, str]:
    """The class of each part that a folder's model_index.json names, all of them held against the pipeline's list.

    Args:
        folder: `Path`.
        pipeline: the pipeline's class.
        is_needed: whether the file must be there, name this class, and name all of its parts.

    Returns:
        part -> name of its class.

    Raises:
        MissingFileError: there is no such file.
        InputError: it is no index, or has a library or class that is not in the list.
    """
    path, parts, named = folder / INDEX, pipeline.folder_parts, {}
    if not is_needed and not path.exists() and not path.is_symlink():
        return {}
    index = read_json(path, "pipeline index", _ACCEPTED)
    if not isinstance(index, dict):
        raise InputError(f"pipeline index {path} holds {shown(index)}; {_ACCEPTED}")
    name = index.get("_class_name", pipeline.__name__)
    if not isinstance(name, str) or (is_needed and name != pipeline.__name__):
        raise InputError(f"{path} is of a {shown(name)}; a {pipeline.__name__} is accepted")
    for part, value in index.items():
        if part.startswith("_") or value == [None, None] or (part in _FLAGS and isinstance(value, bool)):
            continue
        if part not in parts:
            raise InputError(f"{path} has a part {shown(part)}; {', '.join(parts)} are accepted")
        _check_pair(path, part, value, parts[part])
        named[part] = value[1]
    missing = [part for part in parts if part not in named]
    if is_needed and missing:
        raise InputError(f"{path} names no class of {', '.join(missing)}; {_ACCEPTED}")
    return named


def _check_pair(path: Path, part: str, value: Any, accepted: Mapping[tuple[str, ...], tuple[str, ...]]) -> None:
    is_pair = isinstance(value, list) and len(value) == 2 and all(isinstance(text, str) for text in value)
    if is_pair and any(value[0] in libraries and value[1] in classes for libraries, classes in accepted.items()):
        return
    known = [f"{', '.join(classes)} of {' or '.join(libraries)}" for libraries, classes in accepted.items()]
    raise InputError(f"{path} has {shown(value)} as {part}; {' or '.join(known) or 'nothing'} is accepted")


def describe_folder(
    folder: Path, pipeline: Any, dtype: str, encoder_dtype: str, given: Iterable[str]
) -> tuple[dict[str, Any], Any]:
    """The parts of a pipeline's folder, of which nothing but configurations is read yet.

    Args:
        folder, pipeline: see `read_index`.
        dtype, encoder_dtype: of the weights; the second of the VAE and the image encoder.
        given: names of parts that are not wanted.

    Returns:
        name -> `Part` of each network, and the scheduler (None if it is not wanted).

    Raises:
        MissingFileError, InputError: as `read_index`, or files that are missing or of another class.
    """
    names = {part: name for part, name in read_index(folder, pipeline).items() if part not in given}
    folders = {part: find_part(folder, part, pipeline) for part in names}
    for part, name in names.items():
        if not folders[part].is_dir():
            raise MissingFileError(f"folder {folders[part]} does not exist; {part}, a {name}, is needed there")
        if part != "scheduler":
            _check_class(folders[part] / "config.json", name)
    scheduler = load_scheduler(names.pop("scheduler"), folder / "scheduler") if "scheduler" in names else None
    networks = {}
    for part, name in names.items():
        is_encoder = part in ("vae", "image_encoder")
        networks[part] = _READERS[name](folders[part], dtype=encoder_dtype if is_encoder else dtype)
    for part in networks.values():
        part.files  # noqa: B018 (what is missing is told before anything is loaded)
    return networks, scheduler


def find_part(folder: Path, part: str, pipeline: Any) -> Path:
    """The folder of a part in that of a pipeline: of its name, or else of another one that the pipeline names.

    Args:
        folder, pipeline: see `read_index`.
        part: name of the part.
    """
    names = part, *pipeline.other_folders.get(part, ())
    return next((folder / name for name in names if (folder / name).is_dir()), folder / part)


def _check_class(path: Path, name: str) -> None:
    config = read_config(path)
    check_class(config, [name], path)
    classes = config.get("architectures") or [name]
    accepted = (name, "CLIPModel") if name.startswith("CLIP") else (name,)
    if not isinstance(classes, list) or any(each not in accepted for each in classes):
        raise InputError(f"{path} is of the architectures {shown(classes)}; {' or '.join(accepted)} is accepted")


def check_given(parts: Mapping[str, Any]) -> None:
    """Raises InputError for parts, given by name, that are no networks or schedulers."""
    for name, part in parts.items():
        fits = hasattr(part, "set_timesteps") if name == "scheduler" else isinstance(part, nn.Layer)
        if not fits:
            what = "a scheduler" if name == "scheduler" else "a network (nn.Layer)"
            raise InputError(f"{name} is {shown(part)}; {what} is accepted, or nothing for that of the folder")
