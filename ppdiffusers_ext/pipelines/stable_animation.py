"""Animating a picture with StableAnimator, from files to files."""

import logging
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import paddle
import PIL.Image
from ppdiffusers import AutoencoderKLTemporalDecoder

from ppdiffusers_ext.data.frames import FolderWriter, open_frames
from ppdiffusers_ext.data.images import read_image
from ppdiffusers_ext.data.outputs import check_writable, output_file, output_folder
from ppdiffusers_ext.data.video import VideoWriter
from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.models.stable_animator import AnimationUNet, FusionFaceId, PoseNet
from ppdiffusers_ext.pipelines.loading import Part, describe_image_encoder, known_options
from ppdiffusers_ext.pipelines.schedulers import make_scheduler
from ppdiffusers_ext.pipelines.stable_animator import StableAnimatorPipeline, check_options
from ppdiffusers_ext.pipelines.time_tiles import time_tiles
from ppdiffusers_ext.preprocess.faces import FaceAnalyzer
from ppdiffusers_ext.runtime import Runtime
from ppdiffusers_ext.weights.assignment import create, read_config

logger = logging.getLogger(__name__)

# Of other samplers, which Stable Video Diffusion's file has nevertheless.
_OF_OTHERS = ("clip_sample", "set_alpha_to_one", "skip_prk_steps")
_FILES = ("unet", "pose_net", "face_encoder")


@dataclass(frozen=True)
class StableAnimationConfig:
    """What to animate, with what, and how.

    Attributes:
        svd: folder of Stable Video Diffusion.
        unet, pose_net, face_encoder: files of StableAnimator's weights.
        faces: folder in which models/antelopev2 has the networks that find the picture's face; None for no face.
        image: picture of the person.
        poses: video, or folder of pictures, of skeletons.
        output: folder to write.
        width, height, guidance_scale, steps, tile_size, overlap, noise, chunk_size, seed: of
            `StableAnimatorPipeline.__call__`.
        fps: frames per second of the videos.
        device: auto, cpu, gpu or gpu:N.
        releases: whether each network leaves the memory when it has done its part.
    """

    svd: str
    unet: str
    pose_net: str
    face_encoder: str
    faces: str | None
    image: str
    poses: str
    output: str
    width: int = 512
    height: int = 512
    guidance_scale: float = 3.0
    steps: int = 25
    tile_size: int = 16
    overlap: int = 4
    noise: float = 0.02
    chunk_size: int = 4
    seed: int = 23123134
    fps: float = 8
    device: str = "auto"
    releases: bool = False


def animate(config, show_progress=True):
    """Animate, and write the frames as pictures, as GIF and as MP4.

    Returns:
        The paths of the folder of pictures, of the GIF and of the MP4.

    Raises:
        InputError, MissingFileError: anything that was given and cannot be used. Inputs and outputs are checked
            before networks are loaded.
    """
    picture, source = read_image(config.image), open_frames(config.poses)
    _check_options(config, source)
    check_files(config)
    folder = Path(config.output)
    pictures, *videos = (folder / f"animated_images{ending}" for ending in ("", ".gif", ".mp4"))
    for video in videos:
        check_writable(video)
    with output_folder(pictures) as temporary:  # refuses pictures of an earlier run before any work
        _write(*_animate(config, picture, source, show_progress), config, temporary, *videos)
    return pictures, *videos


def _check_options(config, source):
    check_options(config.width, config.height, config.steps, 1)
    time_tiles(source.num_frames, config.tile_size, config.overlap)
    if not config.fps > 0 or config.chunk_size < 1:
        raise InputError(
            f"fps {config.fps} and decode_chunk_size {config.chunk_size} do not fit; more than 0 frames per second, "
            "and chunks of 1 or more frames, are accepted"
        )


def _animate(config, picture, source, show_progress):
    """The pipeline, and the clip's latents."""
    runtime = Runtime.choose(config.device, "fp32")
    face = _find_face(config, picture)
    pipeline = load_pipeline(config)
    pipeline.set_progress_bar_config(disable=not show_progress, unit="window")
    logger.warning("seed %d on %s", config.seed, runtime.device)
    latents = pipeline(
        picture,
        iter(source),
        face,
        config.width,
        config.height,
        config.steps,
        min_guidance_scale=config.guidance_scale,
        max_guidance_scale=config.guidance_scale,
        noise_aug_strength=config.noise,
        tile_size=config.tile_size,
        tile_overlap=config.overlap,
        generator=paddle.Generator().manual_seed(config.seed),
        output_type="latent",
    ).frames
    return pipeline, latents


def _find_face(config, picture):
    """The embedding of the picture's largest face, or None."""
    if config.faces is None:
        return None
    device = "cpu" if paddle.device.get_device() == "cpu" else "gpu"
    face = FaceAnalyzer(config.faces, device).embed(np.asarray(picture))
    if face is None:
        logger.warning("%s shows no face: the animation follows the picture alone", config.image)
    return face


def _write(pipeline, latents, config, pictures, gif, video):
    """Write frames as they are decoded; for the GIF they are collected, a byte for each pixel."""
    writer, collected = FolderWriter(pictures), []
    fps = Fraction(config.fps).limit_denominator(1001)
    with VideoWriter(video, fps, config.width, config.height) as movie:
        for chunk in pipeline.decode(latents, config.chunk_size):
            frames = (chunk.transpose([0, 2, 3, 1]) * 255).round().numpy().astype(np.uint8)
            movie.write(frames)
            for frame in frames:
                writer.write(frame)
                collected.append(PIL.Image.fromarray(frame).quantize())
    with output_file(gif) as temporary:
        duration = round(1000 / config.fps)  # milliseconds
        first, *rest = collected
        first.save(temporary, format="GIF", save_all=True, append_images=rest, duration=duration, loop=0)


def check_files(config):
    """Raises MissingFileError for weights that are not there."""
    for name in ("svd", *_FILES):
        path = getattr(config, name)
        if not path or not Path(path).exists():
            raise MissingFileError(
                f"the weights of {name}, {path}, do not exist; `python scripts/download_weights.py --system "
                "stable_animator` fetches the released ones, docs/weights.md lists them"
            )


def load_pipeline(config):
    """The `StableAnimatorPipeline` of a configuration, whose networks are loaded when they are needed, in fp32.

    Raises:
        InputError, MissingFileError: files that are missing, damaged or of another model.
    """
    svd = Path(config.svd)
    unet_config = read_config(svd / "unet")
    unet = create(lambda: AnimationUNet(**known_options(AnimationUNet, unet_config)))
    width = unet.config.block_out_channels[0]
    encoder = describe_image_encoder(svd / "image_encoder")
    clip_width = encoder.model.config.projection_dim
    context = unet.config.cross_attention_dim
    parts = {
        "vae": Part(create(lambda: _make_vae(svd / "vae")), [svd / "vae"]),
        "image_encoder": encoder,
        "unet": Part(unet, [config.unet]),
        "pose_net": Part(create(lambda: PoseNet(width)), [config.pose_net]),
        "face_encoder": Part(
            create(lambda: FusionFaceId(context, clip_embeddings_dim=clip_width)), [config.face_encoder]
        ),
    }
    scheduler = make_scheduler("Euler", _scheduler_options(svd))
    pipeline = StableAnimatorPipeline(**{name: part.model for name, part in parts.items()}, scheduler=scheduler)
    pipeline.use_networks(parts)
    pipeline.use_memory("low" if config.releases else "high")
    return pipeline


def _make_vae(folder):
    return AutoencoderKLTemporalDecoder(**known_options(AutoencoderKLTemporalDecoder, read_config(folder)))


def _scheduler_options(svd):
    path = svd / "scheduler" / "scheduler_config.json"
    if not path.exists():
        raise MissingFileError(f"{path} does not exist; the folder of Stable Video Diffusion has it")
    options = read_config(path)
    return {name: value for name, value in options.items() if name[0] != "_" and name not in _OF_OTHERS}
