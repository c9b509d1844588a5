"""From the paths in the options of Animate Anyone to a `Pose2VideoPipeline`."""

from dataclasses import dataclass, fields
from pathlib import Path

from ppdiffusers_ext.errors import InputError, check_keys
from ppdiffusers_ext.files import check_all_there, check_file, read_yaml
from ppdiffusers_ext.models.animate_anyone import DenoisingUNet3D, PoseGuider, ReferenceUNet
from ppdiffusers_ext.models.rules import option_names
from ppdiffusers_ext.options import check_values
from ppdiffusers_ext.pipelines.animate_anyone.pipeline import Pose2VideoPipeline
from ppdiffusers_ext.pipelines.loading import (
    Part,
    build,
    describe_image_encoder,
    describe_vae,
    dtypes_of_run,
    known_options,
)
from ppdiffusers_ext.pipelines.memory import get_rung
from ppdiffusers_ext.pipelines.schedulers import make_scheduler
from ppdiffusers_ext.weights.assignment import (
    find_weights,
    load_motion_module,
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
_NO_WEIGHTS = {
    "inference_config": "a YAML file of the networks' options, such as configs/inference/inference_v2.yaml, is needed",
    "denoising_unet_config_path": "a config.json of the denoising UNet is needed, or none, for the base model's",
}


@dataclass
class _Inference:
    """The keys of an inference configuration."""

    unet_additional_kwargs: dict | None = None
    pose_guider_kwargs: dict | None = None
    noise_scheduler_kwargs: dict | None = None
    sampler: str | None = None


def check_paths(config):
    """Refuse a configuration whose files are not there, before anything is loaded.

    Raises:
        InputError: a path is not given.
        MissingFileError: a path does not exist.
    """
    for key in _REQUIRED:
        if not getattr(config, key):
            raise InputError(f"the configuration has no {key}; the path of a file or folder is needed")
    paths = {key: path for key in (*_REQUIRED, *_OPTIONAL) if (path := getattr(config, key))}
    if all(Path(path).exists() for key, path in paths.items() if key not in _NO_WEIGHTS):  # downloading would not help
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


def load_pipeline(config, runtime, parts=None):
    """The pipeline, with all parts loaded; or with none, where each is loaded when it is needed.

    That is so in a compiled engine, which has weights of its own, and on the lower rungs of the memory ladder.

    Args:
        config: a `Pose2VidConfig`; its paths, its scheduler, its engine and its memory are used.
        runtime: a `Runtime`.
        parts: of `describe_run`, which is called if they are left out.

    Raises:
        InputError, MissingFileError: files that are missing, damaged or of another model, or unknown options.
    """
    if parts is None:
        check_paths(config)
        parts = describe_run(config, runtime)
    scheduler = make_configured_scheduler(config)
    pipeline = Pose2VideoPipeline(**{name: part.model for name, part in parts.items()}, scheduler=scheduler)
    pipeline.use_networks(parts)
    pipeline.use_engine(config.engine, config.engine_cache or None, runtime.dtype)
    pipeline.use_memory(config.memory)
    if pipeline.needs_weights and not get_rung(config.memory).releases:
        for part in parts.values():
            part.load()
    return pipeline


def make_configured_scheduler(config):
    """The scheduler that a `Pose2VidConfig` and its inference configuration ask for."""
    inference = read_inference_config(config.inference_config)
    return make_scheduler(
        config.scheduler or inference.get("sampler", "DDIM"), inference.get("noise_scheduler_kwargs")
    )


def read_inference_config(path):
    """What an inference configuration says of networks and noise: a dict of YAML. Raises InputError for other keys."""
    inference = read_yaml(path)
    check_keys(inference, [item.name for item in fields(_Inference)], f"key in {path}")
    check_values(_Inference, inference, path)
    additional, guider = (inference.get(key) or {} for key in ("unet_additional_kwargs", "pose_guider_kwargs"))
    check_keys(additional, option_names(DenoisingUNet3D), f"UNet option in {path}")
    check_keys(guider, option_names(PoseGuider), f"pose guider option in {path}")
    return {**inference, "unet_additional_kwargs": additional, "pose_guider_kwargs": guider}


def describe_run(config, runtime):
    """As `describe_parts`, with weights in the dtypes in which a run on a `Runtime` has them."""
    return describe_parts(config, *dtypes_of_run(config, runtime))


def describe_parts(config, dtype="float32", encoder_dtype="float32", read=read_config):
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
        "reference_unet": Part(reference_unet, [config.reference_unet_path]),
        "denoising_unet": Part(
            denoising_unet,
            [path for path in (config.denoising_unet_path, config.motion_module_path) if path],
            load_motion_module,
        ),
        "pose_guider": Part(pose_guider, [config.pose_guider_path]),
    }
