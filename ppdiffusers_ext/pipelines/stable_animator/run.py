"""Animating a picture with StableAnimator, from files to files."""

import functools
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
import PIL.Image

from ppdiffusers_ext.data.colour_drift import ColourAnchor
from ppdiffusers_ext.data.frames import FolderWriter, FrameSource, check_names, open_frames, resize
from ppdiffusers_ext.data.images import read_image, write_gif
from ppdiffusers_ext.data.outputs import check_outputs, output_file, output_folder, report_paths
from ppdiffusers_ext.data.side_outputs import SideOutputs, SideVideo
from ppdiffusers_ext.data.stable_animator.clips import read_embedding
from ppdiffusers_ext.metrics.result_report import Driver
from ppdiffusers_ext.pipelines.calls import as_generator
from ppdiffusers_ext.pipelines.existing import case_of, hold_results
from ppdiffusers_ext.pipelines.inputs import fit_picture, tell_shape
from ppdiffusers_ext.pipelines.loading import models_of
from ppdiffusers_ext.pipelines.outputs import animated_frames, pixels_of
from ppdiffusers_ext.pipelines.reporting import ResultReport, driver_of_drawing, timed
from ppdiffusers_ext.pipelines.resuming import RunState, open_state
from ppdiffusers_ext.pipelines.stable_animator.faces import (
    IdentityReport,
    check_refinement,
    find_face,
    find_small_face,
    prepare_refinement,
)
from ppdiffusers_ext.pipelines.stable_animator.memory import check_memory
from ppdiffusers_ext.pipelines.stable_animator.pipeline import StableAnimatorPipeline
from ppdiffusers_ext.pipelines.stable_animator.refinement import FaceRefinement
from ppdiffusers_ext.pipelines.stable_animator.time_tiles import time_tiles
from ppdiffusers_ext.pipelines.together import keep_of_first, seed_of_all
from ppdiffusers_ext.pipelines.watching import DECODING, told
from ppdiffusers_ext.runtime import Runtime, check_device

if TYPE_CHECKING:
    from ppdiffusers_ext.pipelines.stable_animator.options import StableAnimationConfig


@dataclass(frozen=True)
class Results:
    """Paths of what was written, None for what was not asked for, and the `IdentityReport`.

    `report` is identity.json; `page` and `numbers` are the report that the option of this name asks for.
    """

    pictures: Path
    gif: Path
    video: Path
    optimization: Path | None = None
    report: Path | None = None
    page: Path | None = None
    numbers: Path | None = None
    identity: IdentityReport | None = None

    @property
    def files(self) -> dict[str, Path]:
        """Names of the paths that there are -> the paths."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Path)}


def animate(config: "StableAnimationConfig", show_progress: bool = True) -> Results:
    """Animate, and write the frames as pictures, as GIF and as MP4.

    Args:
        config: `StableAnimationConfig`.
        show_progress: of the pipeline, on stderr.

    Returns:
        `Results`.

    Raises:
        InputError, MissingFileError: anything that was given and cannot be used. Inputs and outputs are checked
            before networks are loaded.
    """
    config.check()
    config = replace(config, seed=seed_of_all(config.seed))
    reference_image: Any = config.reference_image  # which is named, see `check_inputs`
    pose_video: Any = config.pose_video
    picture, skeletons = read_image(reference_image), open_frames(pose_video, background="black")
    check_names(skeletons)
    source = skeletons.first(animated_frames(pose_video, skeletons.num_frames, config.num_frames))
    driver = Driver()
    if config.report:  # the pipeline stretches what it is given
        driver = driver_of_drawing(config, pose_video, skeletons, source.num_frames, "stretch")
    check(config, source.num_frames)
    if config.refinement is not None:
        check_refinement(config.refinement, np.asarray(picture), config.num_inference_steps)
    folder = Path(config.output)
    pictures, gif, video = (folder / f"animated_images{ending}" for ending in ("", ".gif", ".mp4"))
    results = Results(
        pictures,
        gif,
        video,
        folder / "face_optimization.json" if config.refinement is not None else None,
        folder / "identity.json" if config.reports else None,
        *(report_paths(video) if config.report else ()),
    )
    written = [path for path in results.files.values() if path != pictures]
    inputs = inputs_of(config)
    paths = [video, *(path for path in (pictures, *written) if path != video)]
    held = hold_results([case_of("stable_animator", paths, inputs, config)], config.overwrite, config.skip_existing)
    if not held.missing:
        return results
    with held.recorded():
        check_outputs(written, [*inputs.values(), driver.path], [pictures])
        report = _report(config, driver) if config.report else None
        return _animate(config, picture, source, results, show_progress, report)


def inputs_of(config: "StableAnimationConfig") -> dict[str, str | None]:
    """Option -> path of each input of a run."""
    refinement = config.refinement
    masks = (None, None) if refinement is None else (refinement.picture_mask, refinement.masks)
    inputs = {"--reference-image": config.reference_image, "--pose-video": config.pose_video}
    return {**inputs, "--embedding": config.embedding, **dict(zip(("--picture-mask", "--masks"), masks))}


def check(config: "StableAnimationConfig", num_frames: int) -> None:
    """Raises InputError for options that do not fit a clip of so many frames."""
    config.check()
    time_tiles(num_frames, config.context_frames, config.context_overlap, config.anchored)
    if config.vae_device is not None:
        check_device(config.vae_device)


def _animate(
    config: "StableAnimationConfig",
    picture: PIL.Image.Image,
    source: FrameSource,
    results: Results,
    show_progress: bool,
    report: ResultReport | None,
) -> Results:
    runtime = Runtime.choose(config.device, config.dtype, config.engine)
    parts = StableAnimatorPipeline.describe_run(config, runtime)
    check_memory(models_of(parts), config, source.num_frames, runtime)
    clip = prepare(config, picture, source)
    identity = IdentityReport(config.faces, np.asarray(picture)) if config.reports and config.faces else None
    with timed(report, "loading"):
        pipeline = StableAnimatorPipeline.open_run(config, runtime, parts, show_progress)

    def write(pictures: Path) -> Results:
        paths: Any = {name: pictures.parent / path.name for name, path in results.files.items()}
        where = replace(results, **paths)
        if identity is not None:
            identity.values.clear()
        sides = SideOutputs(pictures)
        with timed(report, "decoding and writing"):
            frames = pixels_of(decode())
            anchor = ColourAnchor(config.color_correction_strength, np.asarray(clip.picture))
            frames = told(anchor.correct_all(frames), DECODING, source.num_frames)
            _write(frames, config, where, identity, sides)
        if clip.refinement is not None:
            sides.attempt(write_history, where.optimization, clip.refinement)
        if identity is not None:
            sides.attempt(identity.write, where.report)
        if report is not None:
            sides.attempt(_write_report, report, config, picture, where)
        sides.tell()
        return replace(where, identity=identity)

    generator = as_generator(config.seed)
    with open_state(pipeline, results.video, "stable_animator", inputs_of(config), config, generator) as state:
        with timed(report, "denoising"):
            latents = denoise(pipeline, config, clip, generator, state)
        decode = functools.partial(pipeline.decode, latents, config.decode_chunk_size, config.vae_device)
        return keep_of_first(write, results.pictures, decode, results)


def _report(config: "StableAnimationConfig", driver: Driver) -> ResultReport:
    report = ResultReport("stable_animator", config, driver=driver)
    report.seed = config.seed
    return report


def _write_report(
    report: ResultReport, config: "StableAnimationConfig", picture: PIL.Image.Image, results: Results
) -> None:
    """Measure the pictures, and write the report beside the video of them."""
    reference = resize(np.asarray(picture), config.width, config.height, config.resize)
    report.write(results.video, report.measure(results.pictures, reference, "reference picture"))


@dataclass(frozen=True)
class Clip:
    """What is animated: a PIL picture, skeletons (a `FrameSource`), a face's embedding, a `FaceRefinement` or None."""

    picture: PIL.Image.Image
    skeletons: FrameSource
    embedding: np.ndarray | None
    refinement: FaceRefinement | None


def prepare(config: "StableAnimationConfig", picture: PIL.Image.Image, skeletons: FrameSource) -> Clip:
    """The `Clip` of a PIL picture and a `FrameSource` of skeletons: looks for faces as the configuration says."""
    pixels, refinement, face = np.asarray(picture), None, None
    if config.faces is not None and config.embedding is None:
        face = find_face(config.faces, pixels, config.reference_image, config.channels)
    elif config.face_recognizer is not None and (config.embedding is None or config.refinement is not None):
        face = find_small_face(config.face_recognizer, pixels, config.reference_image)
    if config.refinement is not None:
        refinement = prepare_refinement(
            config.refinement, pixels, face, skeletons, config.num_inference_steps, config.height, config.width
        )
    embedding: Any = None
    if config.embedding is not None:
        embedding = read_embedding(config.embedding)
    elif face is not None:
        embedding = face.embedding
    is_other = tell_shape(config.reference_image, *picture.size, config)
    return Clip(fit_picture(picture, config) if is_other else picture, skeletons, embedding, refinement)


def denoise(
    pipeline: StableAnimatorPipeline, config: "StableAnimationConfig", clip: Clip, generator: str, state: RunState
) -> paddle.Tensor:
    """The latents that a `Clip` becomes, or has become in an earlier run."""
    if clip.refinement is not None:
        state.collect("history", clip.refinement.history)
    return state.part(lambda: _denoise(pipeline, config, clip, generator))


def _denoise(
    pipeline: StableAnimatorPipeline, config: "StableAnimationConfig", clip: Clip, generator: str
) -> paddle.Tensor:
    return pipeline(
        clip.picture,
        iter(clip.skeletons),
        clip.embedding,
        config.width,
        config.height,
        config.num_inference_steps,
        min_guidance_scale=config.guidance_scale,
        max_guidance_scale=config.guidance_scale,
        noise_aug_strength=config.noise_aug_strength,
        tile_size=config.context_frames,
        tile_overlap=config.context_overlap,
        anchored=config.anchored,
        repeats_noise=config.repeats_noise,
        **config.knobs,
        decode_chunk_size=config.decode_chunk_size,
        refinement=clip.refinement,
        generator=generator,
        output_type="latent",
    ).frames


def write_history(path: str | os.PathLike, refinement: FaceRefinement) -> None:
    """Write loss and cosines of every iteration of a `FaceRefinement` as JSON."""
    with output_file(path) as temporary:
        Path(temporary).write_text(json.dumps(refinement.history, indent=1) + "\n", encoding="utf-8")


def _write(
    frames: Iterable[np.ndarray],
    config: "StableAnimationConfig",
    results: Results,
    identity: IdentityReport | None,
    sides: SideOutputs,
) -> None:
    """Write frames as they are decoded; for the GIF they are collected, a byte for each pixel."""
    collected, fps = [], Fraction(config.fps).limit_denominator(1001)
    movie = SideVideo(sides, results.video, fps, config.width, config.height)
    with movie, output_folder(results.pictures) as folder:
        writer = FolderWriter(folder)
        for frame in frames:
            movie.write(frame)
            writer.write(frame)
            if identity is not None:
                identity.add(frame)
            collected.append(PIL.Image.fromarray(frame).quantize())
    sides.attempt(write_gif, results.gif, collected, round(1000 / config.fps))
