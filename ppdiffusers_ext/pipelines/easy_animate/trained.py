"""Folders that training of EasyAnimate writes: a transformer, or LoRA and the name of the folder that it is for."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from ppdiffusers_ext.files import read_yaml
from ppdiffusers_ext.options import by_field
from ppdiffusers_ext.pipelines.easy_animate import loading
from ppdiffusers_ext.pipelines.easy_animate.options import EasyAnimateConfig
from ppdiffusers_ext.pipelines.run_options import TRAINED, is_of_training, read_trained

_TRANSFORMER, _LORAS = "transformer_path", "loras"  # options of which training writes one at least
_PATHS = ("model", _TRANSFORMER, "motion_module_path", "vae_path")  # fields of the options


def read_folder(folder: Path, options: dict[str, Any]) -> EasyAnimateConfig:
    """As `loading.read_folder`, of a folder that training wrote as well.

    Raises:
        MissingFileError, InputError: as `loading.read_folder` and `read_trained`.
    """
    if not any(is_of_training(folder, key) for key in (_TRANSFORMER, _LORAS)):
        return loading.read_folder(folder, **options)
    options, _ = by_field(EasyAnimateConfig, options, "option")
    config = read_trained(EasyAnimateConfig, folder, _PATHS, options)
    if _LORAS in options:
        return config
    config.check_loras()
    return replace(config, loras=[[str(folder / path), weight] for path, weight in config.loras])


def recognises(folder: Path) -> tuple[bool, bool]:
    """As `loading.recognises`, of a folder with LoRA as well, by the checkpoint that it is for."""
    found = loading.recognises(folder)
    if found[0] or not is_of_training(folder, _LORAS):
        return found
    model = read_yaml(folder / TRAINED).get("model")
    return loading.recognises(folder / model) if isinstance(model, str) else found
