"""From the paths in a configuration to a `StableAnimatorPipeline`."""

from pathlib import Path

from ppdiffusers_ext.files import check_all_there, check_file
from ppdiffusers_ext.models.stable_animator import AnimationUNet, FusionFaceId, PoseNet
from ppdiffusers_ext.pipelines.loading import (
    Part,
    build,
    describe_image_encoder,
    describe_video_vae,
    dtypes_of_run,
    known_options,
)
from ppdiffusers_ext.pipelines.schedulers import make_scheduler
from ppdiffusers_ext.pipelines.stable_animator.pipeline import StableAnimatorPipeline
from ppdiffusers_ext.weights.assignment import create, read_config

# Of other samplers, which Stable Video Diffusion's file has nevertheless.
_OF_OTHERS = ("clip_sample", "set_alpha_to_one", "skip_prk_steps")


def check_files(config):
    """Raises MissingFileError for weights that are not there."""
    check_all_there(
        [(name, getattr(config, name) or "") for name in ("svd", "unet", "pose_net", "face_encoder")],
        "`python scripts/download_weights.py --system stable_animator` fetches the released weights, docs/weights.md "
        "lists them",
    )


def load_pipeline(config, runtime, parts=None):
    """The `StableAnimatorPipeline` of a configuration, whose networks are loaded when they are needed.

    Args:
        config: a `StableAnimationConfig`; its paths, its engine and its memory are used.
        runtime: a `Runtime`.
        parts: of `describe_run`, which is called if they are left out.

    Raises:
        InputError, MissingFileError: files that are missing, damaged or of another model; an engine that cannot run.
    """
    parts = describe_run(config, runtime) if parts is None else parts
    scheduler = make_configured_scheduler(config)
    pipeline = StableAnimatorPipeline(**{name: part.model for name, part in parts.items()}, scheduler=scheduler)
    pipeline.use_networks(parts)
    pipeline.use_engine(config.engine, config.engine_cache or None, runtime.dtype)
    pipeline.use_memory(config.memory)
    return pipeline


def make_configured_scheduler(config):
    """The scheduler of a `StableAnimationConfig`."""
    return make_scheduler("Euler", read_scheduler(Path(config.svd)))


def describe_run(config, runtime):
    """As `describe_parts`, with weights in the dtypes in which a run on a `Runtime` has them."""
    return describe_parts(config, *dtypes_of_run(config, runtime))


def describe_parts(config, dtype="float32", encoder_dtype="float32", read=read_config):
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
        "unet": Part(unet, [config.unet]),
        "pose_net": Part(create(lambda: PoseNet(width), dtype), [config.pose_net]),
        "face_encoder": Part(face_encoder, [config.face_encoder]),
    }


def read_scheduler(svd):
    """Options of Stable Video Diffusion's sampler, from its folder. Raises MissingFileError where there are none."""
    path = svd / "scheduler" / "scheduler_config.json"
    check_file(path, "configuration", "the folder of Stable Video Diffusion has it")
    options = read_config(path, True)
    return {name: value for name, value in options.items() if name[0] != "_" and name not in _OF_OTHERS}
