"""Pose to video from files to files: what `python -m scripts.pose2vid` does, as a function.

Each case (a picture and a pose video) gives three files: the result, the result beside the picture and the poses, and
a contact sheet; with `report` also a report. Memory holds the clip's latents and a few frames; pose frames are read
twice, result frames streamed.
"""

import itertools
import logging
import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import paddle
import PIL.Image

from ppdiffusers_ext.data.animated import is_animated
from ppdiffusers_ext.data.audio import Audio
from ppdiffusers_ext.data.frames import FrameSource, open_frames
from ppdiffusers_ext.data.images import read_image
from ppdiffusers_ext.data.outputs import check_outputs, fitting_name
from ppdiffusers_ext.data.video_writer import SUFFIXES, check_video_rate
from ppdiffusers_ext.distributed.ranks import current_ranks
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.files import suffix_of
from ppdiffusers_ext.metrics.result_report import Driver
from ppdiffusers_ext.pipelines.animate_anyone.memory import check_memory
from ppdiffusers_ext.pipelines.animate_anyone.pipeline import Pose2VideoPipeline
from ppdiffusers_ext.pipelines.calls import as_generator
from ppdiffusers_ext.pipelines.existing import case_of, hold_results
from ppdiffusers_ext.pipelines.inputs import fit_picture, tell_shape
from ppdiffusers_ext.pipelines.loading import models_of
from ppdiffusers_ext.pipelines.outputs import (
    PICTURE_SUFFIXES,
    VIDEO_SUFFIXES,
    Case,
    Result,
    animated_frames,
    write_case,
)
from ppdiffusers_ext.pipelines.reporting import ResultReport, driver_of_drawing, stopwatch, timed
from ppdiffusers_ext.pipelines.resuming import open_state
from ppdiffusers_ext.pipelines.together import seed_of_all
from ppdiffusers_ext.runtime import Runtime

if TYPE_CHECKING:
    from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig


logger = logging.getLogger(__name__)

_MOST_KEPT = 64_000_000  # pixels of pictures that are kept; others are read again when their turn comes


def animate(config: "Pose2VidConfig", show_progress: bool = True) -> list[Result]:
    """Animate every case of a configuration.

    Args:
        config: a checked `Pose2VidConfig`.
        show_progress: a progress bar on stderr, over steps and windows, with the time left.

    Returns:
        A list of `Result`, one for each pair of picture and pose video.

    Raises:
        InputError, MissingFileError: anything that the user gave and that cannot be used. Inputs and outputs are
            checked before the model is loaded. A case that fails then does not stop the others; its error comes last.
    """
    config = replace(config, seed=seed_of_all(config.seed))
    cases = prepare_cases(config)
    held = hold_results([_case_of(config, case) for case in cases], config.overwrite, config.skip_existing)
    results: list = [case.result for case in cases if case.target not in held.missing]
    cases = [case for case in cases if case.target in held.missing]
    with held.recorded():
        return results + (_animate_all(config, cases, show_progress) if cases else [])


def _case_of(config: "Pose2VidConfig", case: Case) -> tuple:
    inputs = {"--reference-image": case.image_path, "--pose-video": case.pose_path}
    return case_of("pose2vid", case.result.paths, inputs, config)


def _animate_all(config: "Pose2VidConfig", cases: list[Case], show_progress: bool) -> list[Result]:
    seconds: dict[str, float] = {}
    with stopwatch(seconds, "loading"):
        pipeline = open_pipeline(config, max(case.num_frames for case in cases), show_progress)
    results: list = []
    errors: list = []
    for case in cases:
        try:
            results.append(animate_case(pipeline, config, case, None, _report(config, case, seconds)))
        except Exception as error:  # whatever is wrong with one is no matter of the others
            if current_ranks().count > 1:  # but ranks cannot go on each by itself
                raise
            if errors:  # the first one is raised at the end
                logger.warning("%s failed: %s", case.target, error)
            elif len(cases) > 1:
                logger.warning("%s failed; what comes after it goes on", case.target)
            errors.append(error)
    if errors:
        raise errors[0]
    return results


def _report(config: "Pose2VidConfig", case: Case, loading: dict[str, float]) -> ResultReport | None:
    if not config.report:
        return None
    own = replace(config, reference_image=str(case.image_path), pose_video=str(case.pose_path))
    return ResultReport("pose2vid", own, driver=case.driver, seconds=loading)


def open_pipeline(config: "Pose2VidConfig", longest: int, show_progress: bool = True) -> Pose2VideoPipeline:
    """The pipeline of a configuration, in a memory in which it fits.

    Args:
        config, show_progress: see `animate`.
        longest: frames of the longest clip to come.

    Raises:
        InputError, MissingFileError: files that do not fit, or not enough memory.
    """
    runtime = Runtime.choose(config.device, config.dtype, config.engine)
    parts = Pose2VideoPipeline.describe_run(config, runtime)
    check_memory(models_of(parts), replace(config, num_frames=longest), runtime)
    return Pose2VideoPipeline.open_run(config, runtime, parts, show_progress)


def prepare_cases(config: "Pose2VidConfig", now: datetime | None = None) -> list[Case]:
    """Check the inputs and outputs of every case: a list of cases.

    Raises:
        InputError, MissingFileError: a file that cannot be read, or a place that cannot be written.
    """
    pairs = config.cases
    if not pairs:
        raise InputError("there is nothing to animate; test_cases, or --reference-image and --pose-video, are needed")
    now = now or datetime.now()
    if _is_file_name(config.output) and len(pairs) > 1:
        raise InputError(f"output {config.output} is one file, but there are {len(pairs)} cases; a folder is accepted")
    cases: list[Case] = []
    images: dict[str, PIL.Image.Image] = {}
    for image_path, pose_path in pairs:
        image = images.get(image_path) or read_image(image_path)
        if sum(math.prod(each.size) for each in images.values()) + math.prod(image.size) <= _MOST_KEPT:
            images[image_path] = image
        tell_shape(image_path, *image.size, config)
        source, fps, count = _open_poses(config, pose_path)
        target = _target(config, Path(image_path), Path(pose_path), fps is None, now)
        if fps is not None:
            check_video_rate(target, fps)
        driver = Driver()
        if config.report:
            drawing = source or open_frames(pose_path, background="black")
            driver = driver_of_drawing(config, pose_path, drawing, count, config.resize)
        kept, has_report = images.get(image_path), config.report
        case = Case(Path(image_path), Path(pose_path), count, fps, target, kept, source, has_report, driver)
        if target in (other.target for other in cases):
            raise InputError(f"two cases would both be written to {target}; pictures and videos need different names")
        cases.append(case)
    inputs = [*itertools.chain(*pairs), *(case.driver.path for case in cases)]
    check_outputs([path for case in cases for path in case.result.paths], inputs)
    return cases


def _open_poses(config: "Pose2VidConfig", path: str) -> tuple[FrameSource | None, float | Fraction | None, int]:
    """Of poses: `FrameSource` and frames per second, None for a picture, and how many frames are animated."""
    if Path(path).suffix.lower() in PICTURE_SUFFIXES and not is_animated(path):
        tell_shape(path, *read_image(path, "black").size, config)
        return None, None, 1
    source = open_frames(path, background="black")
    tell_shape(path, source.width, source.height, config)
    available = source.resampled_count(source.fps)
    return source, config.fps or source.fps, animated_frames(path, available, config.num_frames)


def _is_file_name(output: str | None) -> bool:
    """Whether an output names a file rather than a folder, whose name may have a dot in it too."""
    return output is not None and suffix_of(output) in PICTURE_SUFFIXES + VIDEO_SUFFIXES


def _target(config: "Pose2VidConfig", image_path: Path, pose_path: Path, is_picture: bool, now: datetime) -> Path:
    accepted = (".png",) if is_picture else SUFFIXES
    if config.output is not None and _is_file_name(config.output):
        target = Path(config.output)
        if target.suffix.lower() not in accepted:
            raise InputError(f"output {target} ends in {target.suffix}; {', '.join(accepted)} or a folder is accepted")
        return target
    size = f"{config.width}x{config.height}"
    folder = Path(f"output/{now:%Y%m%d}/{now:%H%M%S}--seed_{config.seed}-{size}")
    folder = folder if config.output is None else Path(config.output)
    pose = pose_path.stem.replace("_kps", "")
    ending = f"_{config.height}x{config.width}_{config.guidance_scale:g}{accepted[0]}"
    return folder / fitting_name(folder, f"{image_path.stem}_{pose}", ending)


def animate_case(
    pipeline: Pose2VideoPipeline,
    config: "Pose2VidConfig",
    case: Case,
    audio: Audio | None = None,
    report: ResultReport | None = None,
) -> Result:
    """Animate one of `prepare_cases`: a `Result`.

    Args:
        pipeline: of `open_pipeline`.
        audio: an `Audio` to put beside the frames.
        report: of the result.
    """
    generator = as_generator(config.seed)
    inputs = {"--reference-image": case.image_path, "--pose-video": case.pose_path}
    if report is not None:
        report.seed = config.seed
    with open_state(pipeline, case.target, "animate_anyone", inputs, config, generator) as state:
        with timed(report, "denoising"):
            latents = state.part(lambda: denoise(pipeline, config, case, generator))

        def decode() -> Iterator[paddle.Tensor]:
            return pipeline.decode(latents, config.decode_chunk_size, config.vae_tile_size)

        strength = config.color_correction_strength
        return write_case(case, decode, config.width, config.height, audio, config.resize, strength, report)


def denoise(pipeline: Pose2VideoPipeline, config: "Pose2VidConfig", case: Case, generator: str) -> paddle.Tensor:
    """The latents that a `Case` becomes."""
    return pipeline(
        fit_picture(case.picture(), config),
        (fit_picture(PIL.Image.fromarray(pose), config) for pose in case.poses()),
        config.width,
        config.height,
        video_length=case.num_frames,
        num_inference_steps=config.num_inference_steps,
        guidance_scale=config.guidance_scale,
        generator=generator,
        output_type="latent",
        context_schedule=config.context_schedule,
        context_frames=config.context_frames,
        context_stride=config.context_stride,
        context_overlap=config.context_overlap,
        context_batch_size=config.context_batch_size,
        sequential_guidance=config.sequential_guidance,
        guidance_interval=config.guidance_interval,
        step_cache_interval=config.step_cache_interval,
        step_cache_depth=config.step_cache_depth,
        fp16_reference_features=config.fp16_reference_features,
        vae_tile_size=config.vae_tile_size,
    ).videos
