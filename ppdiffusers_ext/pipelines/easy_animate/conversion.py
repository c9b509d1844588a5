"""Folders of EasyAnimate's checkpoints from the original's form to ours, and back.

Both have the same parts in folders of the same names, which `loading` reads in either form. In ours, each network
is one file that its class's `from_pretrained` loads; V1's transformer has its motion modules. Tokenizers, options of
the sampler and of CLIP's pictures stay as they are. Checkpoints in several files become one.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from paddle import nn
from paddlenlp.transformers import PretrainedModel

from ppdiffusers_ext.data.outputs import output_folder
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.models.easy_animate import HunyuanTransformer3D, PixArtTransformer3D
from ppdiffusers_ext.models.easy_animate.checkpoint import options_of_motion, original_config
from ppdiffusers_ext.pipelines.conversion import (
    Report,
    keep_unused,
    part_to_paddle,
    part_to_torch,
    plain,
    read_unused,
    write_config,
)
from ppdiffusers_ext.pipelines.easy_animate.loading import (
    INFERENCE_CONFIG,
    MOTION_MODULE,
    check_parts,
    describe_parts,
    read_transformer,
    read_transformer_options,
)
from ppdiffusers_ext.pipelines.easy_animate.options import EasyAnimateConfig

_COPIED = ("model_index.json", "tokenizer", "tokenizer_2", "scheduler", "image_encoder/preprocessor_config.json")
# What the original's files have and ours have no use for: tables of places and of frames, a layer of BERT's that is
# not asked, T5's table of tokens under its second name, and what the VAE was trained with. It is kept beside the
# weights, that the original comes back whole.
_KEPT = r"(^|\.)pe$|pos_embed$|^pooler\.|^encoder\.embed_tokens\.|^loss\."
_OF_MOTION = "attn_temporal."


def to_paddle(
    source: str | os.PathLike,
    target: str | os.PathLike,
    dtype: str | None = None,
    transformer: dict[str, Any] | None = None,
    motion_module: str | os.PathLike | None = None,
    loras: Sequence[tuple[str, float]] = (),
) -> list[Report]:
    """Convert the original's folder to ours.

    Args:
        source, target: folders; the second must be new or empty, and appears when it is complete.
        dtype: "fp32", "fp16" or "bf16" for all numbers with a fraction; as they are if left out.
        transformer: options that go over those of the transformer's `config.json`: V1's of its motion modules; those
            that `to_torch` wrote into `source` if left out.
        motion_module: file of V1's motion modules, if not in `source` under its published name.
        loras: (file, weight) of LoRA files to merge into the weights.

    Returns:
        A `Report` for each part.

    Raises:
        InputError, MissingFileError: files that are missing, damaged or of another model, LoRA files among them.
    """
    source = Path(source)
    if not motion_module and (source / MOTION_MODULE).is_file():
        motion_module = source / MOTION_MODULE
    if not transformer and (source / INFERENCE_CONFIG).is_file():
        transformer = read_transformer_options(source / INFERENCE_CONFIG)
    config = EasyAnimateConfig(
        model=str(source),
        transformer=transformer or {},
        motion_module_path=str(motion_module) if motion_module else None,
        loras=[[str(path), weight] for path, weight in loras],
    )
    check_parts(config)
    parts, reports = describe_parts(config), []
    with output_folder(target) as folder:
        for name, part in parts.items():
            reports.append(part_to_paddle(name, part, folder, dtype))
            keep_unused(reports[-1], part, folder, _KEPT, dtype)
            if isinstance(part.model, PretrainedModel):
                _copy(source, folder, f"{name}/config.json")
        for name in _COPIED:
            _copy(source, folder, name)
    return reports


def to_torch(
    source: str | os.PathLike,
    target: str | os.PathLike,
    dtype: str | None = None,
    loras: Sequence[tuple[str, float]] = (),
) -> list[Report]:
    """Convert a folder of ours to the original's files in torch's layout; V1's are PixArt's and a motion module.

    Beside V1's, `inference.yaml` takes the options of its motion modules, which the original has in its own YAML.

    Arguments, results and errors are those of `to_paddle`.
    """
    source = Path(source)
    config = EasyAnimateConfig(model=str(source), loras=[[str(path), weight] for path, weight in loras])
    check_parts(config)
    cls, options = read_transformer(source)
    if options["_class_name"] != cls.__name__:
        raise InputError(
            f"{source} is in the original's form already, with a {options['_class_name']}; a folder with a "
            f"{HunyuanTransformer3D.__name__} or a {PixArtTransformer3D.__name__} is accepted"
        )
    parts, reports = describe_parts(config), []
    is_first = type(parts["vae"].model).__name__ == "AutoencoderKL"
    with output_folder(target) as folder:
        for name, part in parts.items():
            is_encoder = isinstance(part.model, PretrainedModel)
            file = "model.safetensors" if is_encoder else "diffusion_pytorch_model.safetensors"
            files: tuple[tuple[str, str], ...] = ((f"{name}/{file}", ""),)
            if name == "transformer" and is_first:
                files = ((MOTION_MODULE, _OF_MOTION), *files)
            reports.append(part_to_torch(name, part, folder, dtype, files, read_unused(source / name, dtype)))
            if is_encoder:
                _copy(source, folder, f"{name}/config.json")
            else:
                write_config(folder / name / "config.json", _config_of(name, part.model, is_first))
        if is_first:
            options = {"transformer": plain(options_of_motion(parts["transformer"].model))}
            (folder / INFERENCE_CONFIG).write_text(yaml.safe_dump(options, sort_keys=False), encoding="utf-8")
        for name in _COPIED:
            _copy(source, folder, name)
    return reports


def _config_of(name: str, model: nn.Layer, is_first: bool) -> dict[str, Any]:
    if name == "vae" and is_first:
        return {"_class_name": "AutoencoderKL", **plain(model.config)}
    return original_config(model, of_pictures=is_first)


def _copy(source: Path, target: Path, name: str) -> None:
    """Copy a file or a folder, if it is there."""
    path = target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if (source / name).is_dir():
        shutil.copytree(source / name, path)
    elif (source / name).is_file():
        shutil.copyfile(source / name, path)
