"""From folders, or the paths in the options of Animate Anyone, to the parts of a `Pose2VideoPipeline`."""

import os
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ppdiffusers_ext.errors import MissingFileError, check_keys
from ppdiffusers_ext.files import read_yaml
from ppdiffusers_ext.models.animate_anyone import DenoisingUNet3D, PoseGuider, ReferenceUNet
from ppdiffusers_ext.models.animate_anyone.checkpoint import load_motion_module
from ppdiffusers_ext.models.rules import option_names
from ppdiffusers_ext.options import check_values
from ppdiffusers_ext.pipelines.animate_anyone.check import OPTIONAL, REQUIRED, check_files
from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig
from ppdiffusers_ext.pipelines.loading import (
    ConfigReader,
    Part,
    build,
    describe_image_encoder,
    describe_vae,
    find_file,
    has_file,
    known_options,
)
from ppdiffusers_ext.pipelines.options import CONFIGS
from ppdiffusers_ext.pipelines.run_options import is_of_training, read_trained, trained_file
from ppdiffusers_ext.pipelines.schedulers import make_scheduler
from ppdiffusers_ext.weights.folders import read_config

UNET_PATHS = ("denoising_unet_path", "motion_module_path")  # the second goes over the first
BASE_MODEL, VAE, IMAGE_ENCODER = "stable-diffusion-v1-5", "sd-vae-ft-mse", "image_encoder"  # folders, as published
INFERENCE_CONFIG = "inference.yaml"  # beside the original's files, what these have no place for
RELEASED = CONFIGS / "inference_v2.yaml"
# Where the networks of Animate Anyone are below the folder of all checkpoints.
_OWN = (".", "patrolli/AnimateAnyone", "tsaiyue/AnimateAnyone_PD")


@dataclass
class _Inference:
    """The keys of an inference configuration."""

    unet_additional_kwargs: dict | None = None
    pose_guider_kwargs: dict | None = None
    noise_scheduler_kwargs: dict | None = None
    sampler: str | None = None


def read_folder(folder: Path, **options: Any) -> Pose2VidConfig:
    """The `Pose2VidConfig` of a folder that training wrote, or of the original's files.

    Args:
        folder: `Path`: the output of training or a checkpoint of it, the original's `pretrained_weights`, or the
            folder in it that has the networks of Animate Anyone.
        options: more fields.

    Raises:
        InputError, MissingFileError: files that are missing, or two where there should be one.
    """
    if is_of_training(folder, REQUIRED[0]):
        return read_trained(Pose2VidConfig, folder, (*REQUIRED, *OPTIONAL), options)
    config = find_originals(next((folder / own for own in _OWN if has_file(folder / own, "denoising_unet")), folder))
    return replace(config, **options)


def recognises(folder: Path) -> bool:
    """True if a folder has files that `read_folder` reads."""
    own = any(has_file(folder / own, name) for own in _OWN for name in ("denoising_unet", "reference_unet"))
    return own or is_of_training(folder, REQUIRED[0])


def find_originals(
    source: Path,
    inference_config: str | os.PathLike | None = None,
    vae: str | os.PathLike | None = None,
    image_encoder: str | os.PathLike | None = None,
    base_model: str | os.PathLike | None = None,
) -> Pose2VidConfig:
    """The `Pose2VidConfig` of the original's files; for arguments and errors see `conversion.to_paddle`."""
    if not source.is_dir():
        raise MissingFileError(f"folder {source} does not exist; a folder with the original's files is needed")
    folders = {
        "pretrained_vae_path": ("--vae", vae or _beside(source, VAE)),
        "image_encoder_path": ("--image-encoder", image_encoder or _beside(source, IMAGE_ENCODER)),
        "pretrained_base_model_path": ("--base-model", base_model or _beside(source, BASE_MODEL)),
    }
    files = {
        "denoising_unet_path": find_file(source, "denoising_unet"),
        "motion_module_path": find_file(source, "motion_module", "motion_module_stage2", optional=True),
        "reference_unet_path": find_file(source, "reference_unet"),
        "pose_guider_path": find_file(source, "pose_guider"),
    }
    for option, folder in folders.values():
        if not Path(folder).is_dir():
            raise MissingFileError(f"folder {folder} does not exist; {option} names where it is")
    own = source / INFERENCE_CONFIG
    paths: dict[str, Any] = {**{key: str(folder) for key, (_, folder) in folders.items()}, **files}
    return Pose2VidConfig(
        **paths,
        denoising_unet_config_path=str(source / "config.json") if (source / "config.json").is_file() else "",
        inference_config=str(inference_config or (own if own.exists() else RELEASED)),
    )


def _beside(source: Path, name: str) -> Path:
    """A folder in that of the networks, or in that of all checkpoints, which is two above."""
    others = source / name, source.parent.parent / name
    return next((folder for folder in others if folder.is_dir()), others[0])


def make_configured_scheduler(config: Pose2VidConfig) -> Any:
    """The scheduler that a `Pose2VidConfig` and its inference configuration ask for."""
    inference = read_inference_config(config.inference_config)
    return make_scheduler(
        config.scheduler or inference.get("sampler", "DDIM"), inference.get("noise_scheduler_kwargs")
    )


def read_inference_config(path: str | os.PathLike) -> dict[str, Any]:
    """What an inference configuration says of networks and noise: a dict of YAML. Raises InputError for other keys."""
    inference = read_yaml(path)
    check_keys(inference, [item.name for item in fields(_Inference)], f"key in {path}")
    check_values(_Inference, inference, path)
    additional, guider = (inference.get(key) or {} for key in ("unet_additional_kwargs", "pose_guider_kwargs"))
    check_keys(additional, option_names(DenoisingUNet3D), f"UNet option in {path}")
    check_keys(guider, option_names(PoseGuider), f"pose guider option in {path}")
    return {**inference, "unet_additional_kwargs": additional, "pose_guider_kwargs": guider}


def describe_run(config: Pose2VidConfig, dtype: str, encoder_dtype: str) -> dict[str, Part]:
    """As `describe_parts`, of a run, whose files are checked to be there."""
    check_files(config)
    return describe_parts(config, dtype, encoder_dtype)


def describe_parts(
    config: Pose2VidConfig, dtype: str = "float32", encoder_dtype: str = "float32", read: ConfigReader = read_config
) -> dict[str, Part]:
    """name -> `Part` of the pipeline that a `Pose2VidConfig` names: what has to be loaded, and from where.

    Args:
        config: its paths are used.
        dtype, encoder_dtype: of the weights; the second for the VAE and the image encoder.
        read: see `pipelines.loading.describe_vae`.
    """
    base = read(Path(config.pretrained_base_model_path) / "unet")
    denoising = read(config.denoising_unet_config_path) if config.denoising_unet_config_path else base
    inference = read_inference_config(config.inference_config)
    own = config.denoising_unet_config_path or config.pretrained_base_model_path
    source = f"{own} with {config.inference_config}"
    denoising_config = {**known_options(DenoisingUNet3D, denoising, own), **inference["unet_additional_kwargs"]}
    denoising_unet = build(DenoisingUNet3D, denoising_config, source, dtype)
    base = known_options(ReferenceUNet, base, config.pretrained_base_model_path)
    reference_unet = build(ReferenceUNet, base, config.pretrained_base_model_path, dtype)
    width = denoising_unet.config.block_out_channels[0]
    guider_config = {"conditioning_embedding_channels": width, **inference["pose_guider_kwargs"]}
    pose_guider = build(PoseGuider, guider_config, config.inference_config, dtype)
    return {
        "vae": describe_vae(config.pretrained_vae_path, encoder_dtype, read),
        "image_encoder": describe_image_encoder(config.image_encoder_path, encoder_dtype, read),
        "reference_unet": Part(reference_unet, [trained_file(config.reference_unet_path, "reference_unet_path")]),
        "denoising_unet": Part(
            denoising_unet,
            [trained_file(path, key) for key in UNET_PATHS if (path := getattr(config, key))],
            load_motion_module,
        ),
        "pose_guider": Part(pose_guider, [trained_file(config.pose_guider_path, "pose_guider_path")]),
    }
