"""Checks of the files of Animate Anyone, without Paddle: what is missing is told at once."""

from pathlib import Path
from typing import TYPE_CHECKING

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.files import check_all_there, check_file
from ppdiffusers_ext.packaged import located
from ppdiffusers_ext.weights.folders import find_weights

if TYPE_CHECKING:
    from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig


REQUIRED = (
    "pretrained_base_model_path",
    "pretrained_vae_path",
    "image_encoder_path",
    "denoising_unet_path",
    "reference_unet_path",
    "pose_guider_path",
    "inference_config",
)


OPTIONAL = ("denoising_unet_config_path", "motion_module_path")
_NO_WEIGHTS = {
    "inference_config": "a YAML file of the networks' options, such as configs/inference/inference_v2.yaml, is needed",
    "denoising_unet_config_path": "a config.json of the denoising UNet is needed, or none, for the base model's",
}


def check_files(config: "Pose2VidConfig") -> None:
    """Refuse a configuration whose files are not there, before anything is loaded.

    Raises:
        InputError: a path is not given.
        MissingFileError: a path does not exist.
    """
    for key in REQUIRED:
        if not getattr(config, key):
            raise InputError(f"the configuration has no {key}; the path of a file or folder is needed")
    paths = {key: path for key in (*REQUIRED, *OPTIONAL) if (path := getattr(config, key))}
    if all(
        Path(located(path)).exists() for key, path in paths.items() if key not in _NO_WEIGHTS
    ):  # downloading would not help
        for key, accepted in _NO_WEIGHTS.items():
            if key in paths:
                check_file(paths[key], key, accepted)
    check_all_there(
        list(paths.items()),
        "`python scripts/download_weights.py --system animate_anyone` fetches the released weights, docs/weights.md "
        "lists them",
    )
    for folder in (config.pretrained_vae_path, config.image_encoder_path):
        find_weights(folder)


def has_weights(config: "Pose2VidConfig") -> bool:
    """Whether any file or folder of weights that a configuration names is there."""
    paths = [getattr(config, key) for key in (*REQUIRED, *OPTIONAL) if key not in _NO_WEIGHTS]
    return any(Path(located(path)).exists() for path in paths if path)
