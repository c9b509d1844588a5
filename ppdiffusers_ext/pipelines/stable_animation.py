"""Animating a picture with StableAnimator, from files to files."""

import json
import logging
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import paddle
import PIL.Image

from ppdiffusers_ext.data.animation_clips import read_embedding
from ppdiffusers_ext.data.frames import FolderWriter, FrameSource, check_names, check_way, open_frames, resize
from ppdiffusers_ext.data.images import read_image
from ppdiffusers_ext.data.outputs import check_writable, output_file, output_folder
from ppdiffusers_ext.data.video_writer import VideoWriter
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.files import read_yaml
from ppdiffusers_ext.pipelines.caching import StepCaching
from ppdiffusers_ext.pipelines.engines import check_engine
from ppdiffusers_ext.pipelines.face_refinement import FaceRefinement
from ppdiffusers_ext.pipelines.guidance import Guidance
from ppdiffusers_ext.pipelines.memory import RUNGS, get_rung
from ppdiffusers_ext.pipelines.memory_plan import first_fitting
from ppdiffusers_ext.pipelines.presets import read_preset
from ppdiffusers_ext.pipelines.stable_animator import check_options
from ppdiffusers_ext.pipelines.stable_faces import IdentityReport, RefinementConfig, find_face
from ppdiffusers_ext.pipelines.stable_loading import check_files, load_pipeline
from ppdiffusers_ext.pipelines.stable_memory_plan import plan_memory
from ppdiffusers_ext.pipelines.time_tiles import time_tiles
from ppdiffusers_ext.pipelines.yaml_files import check_keys, check_kinds
from ppdiffusers_ext.runtime import Runtime, check_device

logger = logging.getLogger(__name__)

_KNOBS = ("guidance_interval", "step_cache_interval", "step_cache_depth")
_STRETCH = 0.02  # by which shapes may differ unseen


@dataclass(frozen=True)
class StableAnimationConfig:
    """What to animate, with what, and how.

    Attributes:
        svd: folder of Stable Video Diffusion.
        unet, pose_net, face_encoder: files of StableAnimator's weights.
        faces: folder in which models/antelopev2 has the networks that find the picture's face; None for no face.
        embedding: .npy file of the embedding of the picture's face, which is not looked for then.
        image: picture of the person.
        poses: video, or folder of pictures, of skeletons.
        output: folder to write.
        width, height, guidance_scale, steps, tile_size, overlap, noise, chunk_size, seed: of
            `StableAnimatorPipeline.__call__`.
        fps: frames per second of the videos.
        device: auto, cpu, gpu or gpu:N.
        dtype: fp32, bf16 or fp16, of the UNet, the pose net and the face encoder.
        engine, engine_cache: what runs the networks, as of `NetworkPipeline.use_engine`.
        preset: a name or a YAML file, see `presets`; only what is of this system counts.
        guidance_interval, step_cache_interval, step_cache_depth: of `StableAnimatorPipeline.__call__`; as the preset
            says if left out.
        memory: rung of the memory ladder, which says whether networks leave the memory, and are kept in halves; the
            two upper ones are the same here, where the size of a decoded chunk is part of what is decoded.
        ignore_memory: begin even if memory will probably not do.
        vae_device: where frames are decoded, such as cpu; where the other networks are if left out.
        resize: what a picture of another shape than the video's becomes: as of `data.frames.resize`.
        channels: order of colours in which the face is seen, as of `FaceAnalyzer`.
        anchored, repeats_noise: of `StableAnimatorPipeline.__call__`.
        refinement: a `RefinementConfig`, or None: the face is not optimised.
        reports: whether a report says how like the picture's face those in the frames are.
    """

    svd: str
    unet: str
    pose_net: str
    face_encoder: str
    faces: str | None = None
    embedding: str | None = None
    image: str = ""
    poses: str = ""
    output: str = ""
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
    dtype: str = "fp32"
    engine: str = "eager"
    engine_cache: str | None = None
    preset: str = "exact"
    guidance_interval: tuple | None = None
    step_cache_interval: int | None = None
    step_cache_depth: int | None = None
    memory: str = "high"
    ignore_memory: bool = False
    vae_device: str | None = None
    resize: str = "fit"
    channels: str = "rgb"
    anchored: bool = True
    repeats_noise: bool = True
    refinement: RefinementConfig | None = None
    reports: bool = False

    @classmethod
    def load(cls, path, **overrides):
        """Read a YAML file of these fields but for image, poses and output; `refinement` is a mapping.

        Args:
            overrides: fields -> values that replace the file's.

        Raises:
            MissingFileError, InputError: no such file, or keys or values that are not known.
        """
        values = read_yaml(path)
        check_keys(values, _names(cls) - {"image", "poses", "output"}, f"key in {path}")
        if missing := {"svd", "unet", "pose_net", "face_encoder"} - set(values):
            raise InputError(f"{path} lacks {', '.join(sorted(missing))}; paths of the weights are needed")
        if values.get("refinement") is not None:
            check_keys(values["refinement"], _names(RefinementConfig), f"key under refinement in {path}")
            if "recognizer" not in values["refinement"]:
                raise InputError(f"refinement in {path} lacks recognizer; the path of its weights is needed")
            values["refinement"] = RefinementConfig(**values["refinement"])
        check_kinds(cls, values, path)
        return cls(**{**values, **overrides})

    @property
    def knobs(self):
        """What the preset, or the user, says of guidance and step caching: arguments of the pipeline."""
        preset = read_preset(self.preset)
        if others := sorted(set(preset) - set(_KNOBS)):
            raise InputError(f"preset {self.preset} has {', '.join(others)}; {', '.join(_KNOBS)} are accepted")
        given = {name: getattr(self, name) for name in _KNOBS}
        return {
            name: preset[name] if value is None else value
            for name, value in given.items()
            if value is not None or name in preset
        }


def _names(cls):
    return {item.name for item in fields(cls)}


@dataclass(frozen=True)
class Results:
    """Paths of what was written, None for what was not asked for, and the `IdentityReport`."""

    pictures: Path
    gif: Path
    video: Path
    optimization: Path | None = None
    report: Path | None = None
    identity: IdentityReport | None = None


def animate(config, show_progress=True):
    """Animate, and write the frames as pictures, as GIF and as MP4.

    Returns:
        `Results`.

    Raises:
        InputError, MissingFileError: anything that was given and cannot be used. Inputs and outputs are checked
            before networks are loaded.
    """
    picture, source = read_image(config.image), open_frames(config.poses)
    _check_options(config, source)
    check_files(config)
    if config.refinement is not None:
        config.refinement.check(np.asarray(picture), config.steps)
    folder = Path(config.output)
    pictures, gif, video = (folder / f"animated_images{ending}" for ending in ("", ".gif", ".mp4"))
    results = Results(
        pictures,
        gif,
        video,
        folder / "face_optimization.json" if config.refinement is not None else None,
        folder / "identity.json" if config.reports else None,
    )
    for path in (gif, video, results.optimization, results.report):
        if path is not None:
            check_writable(path)
    with output_folder(pictures) as temporary:  # refuses pictures of an earlier run before any work
        return _animate(config, picture, source, results, temporary, show_progress)


def _check_options(config, source):
    check(config, source.num_frames)
    check_names(source)


def check(config, num_frames):
    """Raises InputError for options that do not fit a clip of so many frames."""
    check_options(config.width, config.height, config.steps, 1)
    time_tiles(num_frames, config.tile_size, config.overlap, config.anchored)
    check_way(config.resize)
    if config.channels not in ("rgb", "bgr"):
        raise InputError(f"the channels {config.channels!r} are not known; rgb or bgr is accepted")
    if config.faces is None and config.reports:
        raise InputError("a report of faces needs the networks that find them; --report without --no-face is accepted")
    check_engine(config.engine)
    get_rung(config.memory)
    if config.vae_device is not None:
        check_device(config.vae_device)
    knobs = config.knobs
    Guidance(interval=tuple(knobs.get("guidance_interval", (0, 1))))  # refuse what is none
    StepCaching(knobs.get("step_cache_interval", 1), knobs.get("step_cache_depth", 1))
    if not config.fps > 0 or config.chunk_size < 1:
        raise InputError(
            f"fps {config.fps} and decode_chunk_size {config.chunk_size} do not fit; more than 0 frames per "
            "second, and chunks of 1 or more frames, are accepted"
        )


def _animate(config, picture, source, results, folder, show_progress):
    runtime = Runtime.choose(config.device, config.dtype)
    check_memory(config, source.num_frames, runtime)
    clip = prepare(config, picture, source)
    identity = IdentityReport(config.faces, np.asarray(picture)) if config.reports else None
    pipeline = open_pipeline(config, runtime, show_progress)
    latents = denoise(pipeline, config, clip)
    _write(pipeline, latents, config, folder, results.gif, results.video, identity)
    if clip.refinement is not None:
        write_history(results.optimization, clip.refinement)
    if identity is not None:
        identity.write(results.report)
    return replace(results, identity=identity)


def check_memory(config, num_frames, runtime):
    """Raises InputError for a clip that will not fit into the memory of this machine."""
    rungs = list(RUNGS)
    plans = plan_memory(config, num_frames, runtime, rungs[rungs.index(config.memory) :])
    logger.info("%s", first_fitting(plans, config.ignore_memory, "a smaller --tile_size or --decode_chunk_size"))


@dataclass(frozen=True)
class Clip:
    """What is animated: a PIL picture, skeletons (a `FrameSource`), a face's embedding, a `FaceRefinement` or None."""

    picture: PIL.Image.Image
    skeletons: FrameSource
    embedding: np.ndarray | None
    refinement: FaceRefinement | None


def prepare(config, picture, skeletons):
    """The `Clip` of a PIL picture and a `FrameSource` of skeletons: looks for faces as the configuration says."""
    pixels, refinement = np.asarray(picture), None
    is_looked_for = config.faces is not None and config.embedding is None
    face = find_face(config.faces, pixels, config.image, config.channels) if is_looked_for else None
    if config.refinement is not None:
        refinement = config.refinement.prepare(pixels, face, skeletons, config.steps, config.height, config.width)
    if config.embedding is not None:
        embedding = read_embedding(config.embedding)
    else:
        embedding = None if face is None else face.embedding
    return Clip(_fit(picture, config), skeletons, embedding, refinement)


def open_pipeline(config, runtime, show_progress=True):
    """The pipeline of a configuration."""
    pipeline = load_pipeline(config, runtime)
    pipeline.set_progress_bar_config(disable=not show_progress, unit="window")
    logger.warning("seed %d on %s in %s", config.seed, runtime.device, runtime.dtype)
    return pipeline


def denoise(pipeline, config, clip):
    """The latents that a `Clip` becomes."""
    return pipeline(
        clip.picture,
        iter(clip.skeletons),
        clip.embedding,
        config.width,
        config.height,
        config.steps,
        min_guidance_scale=config.guidance_scale,
        max_guidance_scale=config.guidance_scale,
        noise_aug_strength=config.noise,
        tile_size=config.tile_size,
        tile_overlap=config.overlap,
        anchored=config.anchored,
        repeats_noise=config.repeats_noise,
        **config.knobs,
        decode_chunk_size=config.chunk_size,
        refinement=clip.refinement,
        generator=paddle.Generator().manual_seed(config.seed),
        output_type="latent",
    ).frames


def write_history(path, refinement):
    """Write loss and cosines of every iteration of a `FaceRefinement` as JSON."""
    with output_file(path) as temporary:
        Path(temporary).write_text(json.dumps(refinement.history, indent=1) + "\n", encoding="utf-8")


def _fit(picture, config):
    """The picture in the video's shape, if it is to keep its own within it; else as it is, which is stretched."""
    if abs(picture.width * config.height / (picture.height * config.width) - 1) < _STRETCH:
        return picture
    if config.resize == "fit":
        logger.warning(
            "%s is %dx%d and is stretched to the shape of %dx%d; --resize crop or pad keeps its own",
            config.image, picture.width, picture.height, config.width, config.height,
        )  # fmt: skip
        return picture
    return PIL.Image.fromarray(resize(np.asarray(picture), config.width, config.height, config.resize))


def _write(pipeline, latents, config, pictures, gif, video, identity):
    """Write frames as they are decoded; for the GIF they are collected, a byte for each pixel."""
    writer, collected = FolderWriter(pictures), []
    fps = Fraction(config.fps).limit_denominator(1001)
    with VideoWriter(video, fps, config.width, config.height) as movie:
        for chunk in pipeline.decode(latents, config.chunk_size, config.vae_device):
            frames = (chunk.transpose([0, 2, 3, 1]) * 255).round().numpy().astype(np.uint8)
            movie.write(frames)
            for frame in frames:
                writer.write(frame)
                if identity is not None:
                    identity.add(frame)
                collected.append(PIL.Image.fromarray(frame).quantize())
    with output_file(gif) as temporary:
        duration = round(1000 / config.fps)  # milliseconds
        first, *rest = collected
        first.save(temporary, format="GIF", save_all=True, append_images=rest, duration=duration, loop=0)
