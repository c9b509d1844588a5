"""From the paths in a configuration to a `Pose2VideoPipeline`."""

import inspect
from pathlib import Path

from ppdiffusers import AutoencoderKL
from ppdiffusers.transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.models.animate_anyone import DenoisingUNet3D, PoseGuider, ReferenceUNet
from ppdiffusers_ext.pipelines.animate_anyone import Pose2VideoPipeline
from ppdiffusers_ext.pipelines.configuration import check_keys, read_yaml
from ppdiffusers_ext.pipelines.schedulers import make_scheduler
from ppdiffusers_ext.weights.assignment import (
    create,
    find_weights,
    load_motion_module,
    load_weights,
    read_config,
)

_REQUIRED = (
    "pretrained_base_model_path",
    "pretrained_vae_path",
    "image_encoder_path",
    "denoising_unet_path",
    "reference_unet_path",
    "pose_guider_path",
    "inference_config",
)
_OPTIONAL = ("denoising_unet_config_path", "motion_module_path")


def check_paths(config):
    """Refuse a configuration whose files are not there, before anything is loaded.

    Raises:
        InputError: a path is not given.
        MissingFileError: a path does not exist.
    """
    for key in _REQUIRED:
        if not getattr(config, key):
            raise InputError(f"the configuration has no {key}; the path of a file or folder is needed")
    for key in (*_REQUIRED, *_OPTIONAL):
        path = getattr(config, key)
        if path and not Path(path).exists():
            raise MissingFileError(f"{key} {path} does not exist; docs/weights.md lists the files and where they go")


def load_pipeline(config, runtime):
    """Load all parts of the pipeline.

    Args:
        config: a `Pose2VidConfig`; its paths and its scheduler are used.
        runtime: a `Runtime`.

    Raises:
        InputError, MissingFileError: files that are missing, damaged or of another model, or unknown options.
    """
    check_paths(config)
    inference = read_yaml(config.inference_config)
    known = ("unet_additional_kwargs", "noise_scheduler_kwargs", "sampler")
    check_keys(inference, known, f"key in {config.inference_config}")
    scheduler = make_scheduler(config.scheduler or inference.get("sampler", "DDIM"), inference.get(known[1]))

    base = read_config(Path(config.pretrained_base_model_path) / "unet")
    denoising = read_config(config.denoising_unet_config_path) if config.denoising_unet_config_path else base
    additional = inference.get(known[0]) or {}
    check_keys(additional, _options(DenoisingUNet3D), f"UNet option in {config.inference_config}")
    denoising_config = {**_known(DenoisingUNet3D, denoising), **additional}

    denoising_unet = create(lambda: DenoisingUNet3D(**denoising_config), runtime.dtype)
    load_motion_module(denoising_unet, config.denoising_unet_path, config.motion_module_path or None)
    reference_unet = create(lambda: ReferenceUNet(**_known(ReferenceUNet, base)), runtime.dtype)
    load_weights(reference_unet, config.reference_unet_path)
    width = denoising_unet.config.block_out_channels[0]
    pose_guider = create(lambda: PoseGuider(conditioning_embedding_channels=width), runtime.dtype)
    load_weights(pose_guider, config.pose_guider_path)
    return Pose2VideoPipeline(
        vae=load_vae(config.pretrained_vae_path, runtime.encoder_dtype),
        image_encoder=load_image_encoder(config.image_encoder_path, runtime.encoder_dtype),
        reference_unet=reference_unet,
        denoising_unet=denoising_unet,
        pose_guider=pose_guider,
        scheduler=scheduler,
    )


def load_vae(folder, dtype="float32"):
    """ppdiffusers' `AutoencoderKL` from a folder in ppdiffusers' or diffusers' layout."""
    config = _known(AutoencoderKL, read_config(folder))
    return load_weights(create(lambda: AutoencoderKL(**config), dtype), find_weights(folder))


def load_image_encoder(folder, dtype="float32"):
    """ppdiffusers' `CLIPVisionModelWithProjection` from a folder in paddlenlp's or transformers' layout."""
    config = read_config(folder)
    # A checkpoint of the whole CLIP has the vision tower's options one level down.
    config = {**config, **config.get("vision_config", {})} if "vision_config" in config else config
    known = CLIPVisionConfig().to_dict()
    config = CLIPVisionConfig(**{key: value for key, value in config.items() if key in known})
    return load_weights(create(lambda: CLIPVisionModelWithProjection(config), dtype), find_weights(folder))


def _options(cls):
    return [name for name in inspect.signature(cls.__init__).parameters if name != "self"]


def _known(cls, config):
    # Configuration files carry notes of the library that wrote them (_class_name, ...), which are not options.
    return {key: value for key, value in config.items() if key in _options(cls)}
