"""Saving of a pipeline: each part into a folder of its name, and a model_index.json; all of it, or nothing."""

import inspect
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from paddle import nn
from paddlenlp.transformers import PretrainedModel

from ppdiffusers_ext.data.outputs import OutputError, output_folder, scratch_folder
from ppdiffusers_ext.errors import shown_path
from ppdiffusers_ext.weights.arrays import to_array
from ppdiffusers_ext.weights.writing import write_safetensors


def save_pipeline(pipeline: Any, folder: str | os.PathLike, options: dict) -> None:
    """Write a pipeline's folder. What is there under other names stays; a part that is there is replaced.

    Args:
        pipeline: a `NetworkPipeline`.
        options: arguments of the networks' `save_pretrained`; those that one does not have are left out.

    Raises:
        InputError: a part cannot be saved, or the folder cannot be written.
    """
    target = Path(os.fspath(folder))
    if not target.is_dir() or not any(target.iterdir()):
        with output_folder(target) as temporary:
            _save(pipeline, temporary, options)
        return
    with scratch_folder(target) as temporary:
        _save(pipeline, temporary, options)
        for path in sorted(temporary.iterdir(), key=lambda path: path.is_file()):  # the index comes last
            _replace(path, target / path.name, temporary)


def _save(pipeline: Any, folder: Path, options: dict[str, Any]) -> None:
    for name, part in pipeline.components.items():
        if isinstance(part, nn.Layer):
            network, model = pipeline.network_to_save(name)
            was_loaded = _is_loaded(part)
            if isinstance(model, PretrainedModel) and hasattr(model, "source_config"):
                _save_text_encoder(model, folder / name)
            else:
                _call(model.save_pretrained, folder / name, options)
            if not was_loaded:
                network.release()
        elif part is not None:
            _call(part.save_pretrained, folder / pipeline.folder_of(name), options)
    pipeline.save_config(str(folder), to_diffusers=options.get("to_diffusers"))


def _save_text_encoder(model: Any, folder: Path) -> None:
    """As conversion writes one: the configuration of its files, and the tensors under the model's names."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(model.source_config, indent=2) + "\n", encoding="utf-8")
    arrays = {name: to_array(tensor) for name, tensor in model.state_dict().items()}
    write_safetensors(folder / "model.safetensors", arrays, {"format": "np"})


def _is_loaded(model: nn.Layer) -> bool:
    return all(parameter._is_initialized() for parameter in model.parameters())


def _call(save: Callable[..., object], folder: Path, options: dict[str, Any]) -> None:
    known = inspect.signature(save).parameters
    save(str(folder), **{name: value for name, value in options.items() if name in known})


def _replace(source: Path, target: Path, temporary: Path) -> None:
    """Move a file or a folder to its place; what was there goes into the temporary folder, which is removed."""
    if target.is_dir() != source.is_dir() and os.path.lexists(target):
        what = "folder" if source.is_dir() else "file"
        raise OutputError(f"cannot write {shown_path(target)}, which is no {what}; another folder is accepted")
    if target.is_dir():
        os.rename(target, temporary / f"{target.name}.before")
    os.replace(source, target)
