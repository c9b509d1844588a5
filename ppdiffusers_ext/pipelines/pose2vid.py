"""Pose to video from files to files: what `python -m scripts.pose2vid` does, as a function.

Each case (a picture and a pose video) gives three files: the result, the result beside the picture and the poses, and
a contact sheet. Memory holds the clip's latents and a few frames; pose frames are read twice, result frames streamed.
"""

import contextlib
import itertools
import logging
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import paddle
import PIL.Image

from ppdiffusers_ext.data.animated import is_animated
from ppdiffusers_ext.data.frames import open_frames
from ppdiffusers_ext.data.images import contact_sheet, read_image, side_by_side, write_image
from ppdiffusers_ext.data.outputs import check_writable
from ppdiffusers_ext.data.video_writer import VideoWriter
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.pipelines.engines import check_engine
from ppdiffusers_ext.pipelines.loading import check_paths, load_pipeline
from ppdiffusers_ext.pipelines.memory_plan import check_memory
from ppdiffusers_ext.runtime import Runtime

logger = logging.getLogger(__name__)

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
VIDEO_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".gif")
SHEET_FRAMES = 12
SHEET_COLUMNS = 4


@dataclass(frozen=True)
class Result:
    """The files that one case gave: `video` is a picture for a single pose picture."""

    video: Path
    side_by_side: Path
    contact_sheet: Path
    num_frames: int


@dataclass(frozen=True)
class Case:
    """A picture and poses that were found to be readable."""

    image_path: Path
    pose_path: Path
    num_frames: int
    fps: float  # None for a pose picture
    target: Path

    def poses(self):
        """An iterator over the pose frames, (H, W, 3) uint8 each."""
        if self.fps is None:
            return iter([np.asarray(read_image(self.pose_path))])
        source = open_frames(self.pose_path, background="black")
        return itertools.islice(source.resampled(source.fps), self.num_frames)

    def beside(self, ending):
        return self.target.with_name(f"{self.target.stem}_{ending}")


def animate(config, show_progress=True):
    """Animate every case of a configuration.

    Args:
        config: a checked `Pose2VidConfig`.
        show_progress: a progress bar on stderr, over steps and windows, with the time left.

    Returns:
        A list of `Result`, one for each pair of picture and pose video.

    Raises:
        InputError, MissingFileError: anything that the user gave and that cannot be used. Inputs and outputs are
            checked before the model is loaded.
    """
    check_engine(config.engine)
    cases = prepare_cases(config)
    pipeline = open_pipeline(config, max(case.num_frames for case in cases), show_progress)
    return [animate_case(pipeline, config, case) for case in cases]


def open_pipeline(config, longest, show_progress=True):
    """The pipeline of a configuration, in a memory in which it fits.

    Args:
        config, show_progress: as of `animate`.
        longest: frames of the longest clip to come.

    Raises:
        InputError, MissingFileError: files that do not fit, or not enough memory.
    """
    runtime = Runtime.choose(config.device, config.weight_dtype)
    check_paths(config)
    logger.info("%s", check_memory(replace(config, length=longest), runtime))
    pipeline = load_pipeline(config, runtime)
    pipeline.set_progress_bar_config(disable=not show_progress, unit="window")
    logger.warning("seed %d on %s in %s", config.seed, runtime.device, runtime.dtype)
    return pipeline


def prepare_cases(config, now=None):
    """Check the inputs and outputs of every case: a list of cases.

    Raises:
        InputError, MissingFileError: a file that cannot be read, or a place that cannot be written.
    """
    pairs = [(image, pose) for image, poses in config.test_cases.items() for pose in poses]
    if not pairs:
        raise InputError("there is nothing to animate; test_cases, or --reference-image and --pose-video, are needed")
    now = now or datetime.now()
    if _is_file_name(config.output) and len(pairs) > 1:
        raise InputError(f"output {config.output} is one file, but there are {len(pairs)} cases; a folder is accepted")
    cases = []
    for image_path, pose_path in pairs:
        read_image(image_path)
        fps, available = None, 1
        if Path(pose_path).suffix.lower() in PICTURE_SUFFIXES and not is_animated(pose_path):
            read_image(pose_path)
        else:
            source = open_frames(pose_path)
            fps, available = config.fps or source.fps, source.resampled_count(source.fps)
            if config.length > available:
                logger.warning("%s has %d frames, less than the %d asked for: all of them are used",
                               pose_path, available, config.length)  # fmt: skip
        target = _target(config, Path(image_path), Path(pose_path), fps is None, now)
        case = Case(Path(image_path), Path(pose_path), min(config.length, available), fps, target)
        if target in (other.target for other in cases):
            raise InputError(f"two cases would both be written to {target}; pictures and videos need different names")
        check_writable(target)
        cases.append(case)
    return cases


def _is_file_name(output):
    """Whether an output names a file rather than a folder, whose name may have a dot in it too."""
    return output is not None and Path(output).suffix.lower() in PICTURE_SUFFIXES + VIDEO_SUFFIXES


def _target(config, image_path, pose_path, is_picture, now):
    suffix = ".png" if is_picture else ".mp4"
    if _is_file_name(config.output):
        target = Path(config.output)
        if target.suffix.lower() != suffix:
            raise InputError(f"output {target} ends in {target.suffix}; {suffix} or a folder is accepted")
        return target
    size = f"{config.width}x{config.height}"
    folder = Path(f"output/{now:%Y%m%d}/{now:%H%M%S}--seed_{config.seed}-{size}")
    folder = folder if config.output is None else Path(config.output)
    pose = pose_path.stem.replace("_kps", "")
    return folder / f"{image_path.stem}_{pose}_{config.height}x{config.width}_{config.cfg:g}{suffix}"


def animate_case(pipeline, config, case, audio=None):
    """Animate one of `prepare_cases`: a `Result`.

    Args:
        pipeline: of `open_pipeline`.
        audio: an `Audio` to put beside the frames.
    """
    image = read_image(case.image_path)
    latents = pipeline(
        image,
        case.poses(),
        config.width,
        config.height,
        video_length=case.num_frames,
        num_inference_steps=config.steps,
        guidance_scale=config.cfg,
        generator=paddle.Generator().manual_seed(config.seed),
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
    chunks = pipeline.decode(latents, config.decode_chunk_size, config.vae_tile_size)
    return write_case(case, chunks, config.width, config.height, audio)


def write_case(case, chunks, width, height, audio=None):
    """Write what a case has become: a `Result`.

    Args:
        case: a `Case`.
        chunks: (n, 3, height, width) tensors in [0, 1], of which memory holds one at a time.
        width, height: pixels.
        audio: an `Audio` to put beside the frames.
    """
    frames, size = pixels_of(chunks), (width, height)
    reference = _resized(np.asarray(read_image(case.image_path)), size)
    poses = (_resized(pose, size) for pose in case.poses())
    if case.fps is None:
        return _write_picture(case, next(frames), next(poses), reference)
    return _write_video(case, frames, poses, reference, audio)


def pixels_of(chunks):
    """(n, 3, H, W) tensors in [0, 1] -> (H, W, 3) uint8 arrays, one by one."""
    for chunk in chunks:
        yield from (chunk.transpose([0, 2, 3, 1]) * 255).round().astype("uint8").numpy()


def _resized(image, size):
    return np.asarray(PIL.Image.fromarray(image).resize(size, PIL.Image.Resampling.LANCZOS))


def _write_picture(case, frame, pose, reference):
    row = side_by_side([reference, pose, frame])
    result = Result(case.target, case.beside("side_by_side.png"), case.beside("sheet.png"), 1)
    write_image(result.video, frame)
    write_image(result.side_by_side, row)
    write_image(result.contact_sheet, contact_sheet([frame], 1))
    return result


def shown_frames(num_frames):
    """Numbers of the frames that a contact sheet shows."""
    return {round(i) for i in np.linspace(0, num_frames - 1, min(SHEET_FRAMES, num_frames))}


def _write_video(case, frames, poses, reference, audio):
    result = Result(case.target, case.beside("side_by_side.mp4"), case.beside("sheet.png"), case.num_frames)
    shown = shown_frames(case.num_frames)
    sheet = []
    with contextlib.ExitStack() as stack:
        writers = None
        for i, (frame, pose) in enumerate(zip(frames, poses)):
            row = side_by_side([reference, pose, frame])
            if writers is None:
                writers = [
                    stack.enter_context(VideoWriter(path, case.fps, picture.shape[1], picture.shape[0], audio=sound))
                    for path, picture, sound in ((result.video, frame, audio), (result.side_by_side, row, None))
                ]
            for writer, picture in zip(writers, (frame, row)):
                writer.write(picture)
            if i in shown:
                sheet.append(frame)
        write_image(result.contact_sheet, contact_sheet(sheet, SHEET_COLUMNS))
    return result
