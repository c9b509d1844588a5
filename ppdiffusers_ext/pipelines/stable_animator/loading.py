"""From folders, or the paths in a configuration, to the parts of a `StableAnimatorPipeline`."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from ppdiffusers_ext.errors import MissingFileError
from ppdiffusers_ext.files import check_file
from ppdiffusers_ext.models.stable_animator import AnimationUNet, FusionFaceId, PoseNet
from ppdiffusers_ext.pipelines.loading import (
    ConfigReader,
    Part,
    build,
    describe_image_encoder,
    describe_video_vae,
    find_file,
    has_file,
    known_options,
)
from ppdiffusers_ext.pipelines.run_options import is_of_training, read_trained, trained_file
from ppdiffusers_ext.pipelines.schedulers import make_scheduler
from ppdiffusers_ext.pipelines.stable_animator.check import PATHS, check_files
from ppdiffusers_ext.pipelines.stable_animator.options import StableAnimationConfig
from ppdiffusers_ext.weights.assignment import create
from ppdiffusers_ext.weights.folders import read_config

OWN, SVD = "Animation", "stable-video-diffusion-img2vid-xt"  # folders, as published
# Of other samplers, which Stable Video Diffusion's file has nevertheless.
_OF_OTHERS = ("clip_sample", "set_alpha_to_one", "skip_prk_steps")


def read_folder(folder: Path, **options: Any) -> StableAnimationConfig:
    """The `StableAnimationConfig` of a folder that training wrote, or of the original's files.

    Args:
        folder: `Path`: the output of training, a checkpoint of it, or the original's folder, which has `Animation` and
            `stable-video-diffusion-img2vid-xt`.
        options: more fields.

    Raises:
        InputError, MissingFileError: files that are missing, or two where there should be one.
    """
    if is_of_training(folder, PATHS[0]):
        return read_trained(StableAnimationConfig, folder, PATHS, options)
    return replace(find_originals(folder), **options)


def recognises(folder: Path) -> bool:
    """True if a folder has files that `read_folder` reads."""
    return has_file(folder / OWN, "unet") or (folder / SVD).is_dir() or is_of_training(folder, PATHS[0])


def find_originals(source: Path) -> StableAnimationConfig:
    """The `StableAnimationConfig` of the original's files. Raises InputError, MissingFileError as `read_folder`."""
    if not (source / SVD).is_dir():
        raise MissingFileError(f"folder {source / SVD} does not exist; a folder with the original's files is needed")
    files: dict[str, Any] = {name: find_file(source / OWN, name) for name in PATHS[1:]}
    return StableAnimationConfig(svd=str(source / SVD), **files)


def make_configured_scheduler(config: StableAnimationConfig) -> Any:
    """The scheduler of a `StableAnimationConfig`."""
    return make_scheduler("Euler", read_scheduler(Path(config.svd)))


def describe_run(config: StableAnimationConfig, dtype: str, encoder_dtype: str) -> dict[str, Part]:
    """As `describe_parts`, of a run, whose files are checked to be there."""
    check_files(config)
    return describe_parts(config, dtype, encoder_dtype)


def describe_parts(
    config: StableAnimationConfig,
    dtype: str = "float32",
    encoder_dtype: str = "float32",
    read: ConfigReader = read_config,
) -> dict[str, Part]:
    """name -> `Part` of the pipeline that a configuration names: what has to be loaded, and from where.

    Args:
        config: with the paths svd, unet, pose_net and face_encoder.
        dtype, encoder_dtype: of the weights; the second for the VAE and the image encoder.
        read: see `pipelines.loading.describe_vae`.
    """
    svd = Path(config.svd)
    options = known_options(AnimationUNet, read(svd / "unet"), svd / "unet")
    unet = build(AnimationUNet, options, svd / "unet", dtype)
    width, context = unet.config.block_out_channels[0], unet.config.cross_attention_dim
    image_encoder = describe_image_encoder(svd / "image_encoder", encoder_dtype, read)
    seen = image_encoder.model.config.projection_dim
    face_options = {"cross_attention_dim": context, "clip_embeddings_dim": seen}
    face_encoder = build(FusionFaceId, face_options, svd, dtype)
    return {
        "vae": describe_video_vae(svd / "vae", encoder_dtype, read),
        "image_encoder": image_encoder,
        "unet": Part(unet, [trained_file(config.unet, "unet")]),
        "pose_net": Part(create(lambda: PoseNet(width), dtype), [trained_file(config.pose_net, "pose_net")]),
        "face_encoder": Part(face_encoder, [trained_file(config.face_encoder, "face_encoder")]),
    }


def read_scheduler(svd: Path) -> dict[str, Any]:
    """Options of Stable Video Diffusion's sampler, from its folder. Raises MissingFileError where there are none."""
    path = svd / "scheduler" / "scheduler_config.json"
    check_file(path, "configuration", "the folder of Stable Video Diffusion has it")
    options = read_config(path, True)
    return {name: value for name, value in options.items() if name[0] != "_" and name not in _OF_OTHERS}
