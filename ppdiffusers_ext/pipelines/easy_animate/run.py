"""Making videos with EasyAnimate, from files to files: of a text, of pictures, or of another video.

A long video is made in parts, each of which begins with the last frames of the one before; where two parts overlap,
one fades into the other.
"""

import functools
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle

from ppdiffusers_ext.data.audio import Audio
from ppdiffusers_ext.data.colour_drift import ColourAnchor
from ppdiffusers_ext.data.easy_animate.buckets import round_frames, split_long
from ppdiffusers_ext.data.frames import FrameSource, open_frames
from ppdiffusers_ext.data.images import read_image, write_image
from ppdiffusers_ext.data.outputs import beside, check_outputs, report_paths
from ppdiffusers_ext.data.side_outputs import SideOutputs
from ppdiffusers_ext.data.video_writer import VideoWriter
from ppdiffusers_ext.errors import InputError, counted
from ppdiffusers_ext.metrics.result_report import Driver
from ppdiffusers_ext.pipelines.calls import as_generator
from ppdiffusers_ext.pipelines.easy_animate.conditions import Known, count_frames, fit, know_pictures, know_video
from ppdiffusers_ext.pipelines.easy_animate.denoise import Text, size_multiple
from ppdiffusers_ext.pipelines.easy_animate.inpaint import EasyAnimateInpaintPipeline
from ppdiffusers_ext.pipelines.easy_animate.memory import check_memory
from ppdiffusers_ext.pipelines.easy_animate.video_coding import frames_multiple
from ppdiffusers_ext.pipelines.existing import case_of, hold_results
from ppdiffusers_ext.pipelines.loading import Part, models_of
from ppdiffusers_ext.pipelines.memory import get_rung
from ppdiffusers_ext.pipelines.outputs import pixels_of, shown_frames, write_sheet
from ppdiffusers_ext.pipelines.reporting import OF_TEXTS, ResultReport, timed
from ppdiffusers_ext.pipelines.resuming import RunState, open_state
from ppdiffusers_ext.pipelines.together import keep_of_first, seed_of_all
from ppdiffusers_ext.pipelines.watching import DECODING, current_watch, told
from ppdiffusers_ext.runtime import Runtime

if TYPE_CHECKING:
    from ppdiffusers_ext.pipelines.easy_animate.options import EasyAnimateConfig


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """The files that were written, `video` a picture for a single frame, and how many frames there are.

    `report` is None without one.
    """

    video: Path
    contact_sheet: Path
    num_frames: int
    report: Path | None = None


def make(config: "EasyAnimateConfig", task: str, show_progress: bool = True) -> Result:
    """Make a video, or a picture.

    Args:
        config: `EasyAnimateConfig`.
        task: one of `options.TASKS`: what it is made of.
        show_progress: of the pipeline, on stderr.

    Returns:
        `Result`.

    Raises:
        InputError, MissingFileError: anything that was given and cannot be used. Inputs and outputs are checked
            before networks are loaded.
    """
    config = config.check(task)
    inputs = open_inputs(config, task)
    runtime = Runtime.choose(config.device, config.dtype, config.engine)
    config, parts, networks = prepare(config, task, inputs, runtime)
    config = replace(config, seed=seed_of_all(config.seed))
    target = Path(config.output)
    start, count = parts[-1]
    reports = report_paths(target) if config.report else ()
    result = Result(target, beside(target, "sheet.png"), start + count, *reports[:1])
    given = (config.start_image, config.end_image, config.video, config.mask)
    check_outputs((result.video, result.contact_sheet, *reports), given)
    names = dict(zip(("--start-image", "--end-image", "--video", "--mask"), given))
    case = case_of("easy_animate", (target, result.contact_sheet, *reports), names, config)
    held = hold_results([case], config.overwrite, config.skip_existing)
    if not held.missing:
        return result
    audio = _audio(config, inputs.source)
    if audio is not None:
        audio.check(result.video, result.num_frames / config.fps)
    knowledge = Knowledge(config, inputs)
    check_memory(models_of(networks), replace(config, num_frames=parts[0][1]), runtime)
    report = ResultReport("easy_animate", config, driver=Driver(reason=OF_TEXTS)) if config.report else None
    with timed(report, "loading"):
        pipeline = EasyAnimateInpaintPipeline.open_run(config, runtime, networks, show_progress, "step")
    generator = as_generator(config.seed)
    with held.recorded(), open_state(pipeline, target, "easy_animate", names, config, generator, len(parts)) as state:
        make_frames = frame_maker(pipeline, config, knowledge, parts, generator, state)

        def write(target: Path) -> Result:
            made = replace(result, video=target, contact_sheet=beside(target, "sheet.png"))
            made = replace(made, report=report_paths(target)[0]) if report is not None else made
            _write(config, make_frames(), made, audio, knowledge.reference if config.start_image else None, report)
            return made

        return keep_of_first(write, target, make_frames, result)


@dataclass(frozen=True)
class Inputs:
    """What a video is made of; each is empty or None if it is not given.

    start, end: pictures that it begins and ends with, (height, width, 3) uint8 each. source, mask: a video that is
    made anew, and where.
    """

    start: tuple[np.ndarray, ...] = ()
    end: tuple[np.ndarray, ...] = ()
    source: FrameSource | None = None
    mask: FrameSource | None = None


def open_inputs(config: "EasyAnimateConfig", task: str) -> Inputs:
    """The `Inputs` of a configuration. Raises InputError, MissingFileError for what cannot be read."""
    if task == "pictures":
        pictures = (config.start_image, config.end_image)
        start, end = ((np.asarray(read_image(path)),) if path else () for path in pictures)
        return Inputs(start, end)
    if task == "video":
        mask = None if config.mask is None else open_frames(config.mask, background="black")
        video: Any = config.video  # which is named, see `EasyAnimateConfig.check`
        return Inputs(source=open_frames(video), mask=mask)
    return Inputs()


def prepare(
    config: "EasyAnimateConfig", task: str, inputs: Inputs, runtime: Runtime
) -> "tuple[EasyAnimateConfig, list[tuple[int, int]], dict[str, Part]]":
    """Say what will be made, of what the networks can make.

    Args:
        config: an `EasyAnimateConfig` after its `check`.
        task: see `make`.
        inputs: of `open_inputs`.
        runtime: a `Runtime`.

    Returns:
        The `EasyAnimateConfig` with sizes and frames that there can be, the parts of the video, see `split_long`, and
        the networks as `EasyAnimateInpaintPipeline.describe` returns them.

    Raises:
        InputError, MissingFileError: see `make`.
    """
    networks = EasyAnimateInpaintPipeline.describe_run(config, runtime)
    config = config.of_shape(*_shape(config, inputs)).rounded(size_multiple(networks["transformer"].model))
    multiple = frames_multiple(networks["vae"].model)
    if task == "video" and inputs.source is not None:
        config = replace(config, num_frames=count_frames(config, inputs.source, multiple))
        return config, [(0, config.num_frames)], networks
    frames = _rounded("frames", config.num_frames, multiple)
    length = frames if config.segment is None else _rounded("segment", config.segment, multiple)
    parts = [(0, frames)] if frames <= length else split_whole(frames, length, config.overlap, multiple)
    if len(parts) > 1:
        _tell_parts(parts, config.overlap)
    return replace(config, num_frames=frames), parts, networks


def split_whole(frames: int, length: int, overlap: int, multiple: int) -> list[tuple[int, int]]:
    """The parts of a long video, see `split_long`, with a last part that ends where the video does.

    The original leaves out frames at the end that are no multiple of what the autoencoder makes at a time: 428 frames
    instead of 432, in parts of 144 that share 4. Here the last part begins earlier instead, and shares more.

    Raises:
        InputError: parts that would share all of their frames.
    """
    if overlap >= length:
        raise InputError(f"parts of {length} frames cannot share {overlap}; fewer are accepted")
    parts = [part for part in split_long(frames, length, overlap, multiple) if part[1] == length]
    end = sum(parts[-1])
    if end < frames:
        count = -(-(frames - end + overlap) // multiple) * multiple
        parts.append((frames - count, count))
    return parts


def _tell_parts(parts: list[tuple[int, int]], overlap: int) -> None:
    """Say which parts a video is made in."""
    (start, count), length = parts[-1], parts[0][1]
    shared = sum(parts[-2]) - start
    last = f"; the last one has {count} and shares {shared}" if (count, shared) != (length, overlap) else ""
    logger.warning(
        "the video of %s is made in %s of %s that share %d%s",
        counted(start + count, "frame"), counted(len(parts), "part"), counted(length, "frame"), overlap, last,
    )  # fmt: skip


def _shape(config: "EasyAnimateConfig", inputs: Inputs) -> tuple[int, int]:
    """Width and height of the picture or the video that there is, or else as they are configured."""
    if inputs.start:
        return inputs.start[0].shape[1], inputs.start[0].shape[0]
    if inputs.source is not None:
        return inputs.source.width, inputs.source.height
    return config.width, config.height


def _rounded(name: str, count: int, multiple: int) -> int:
    rounded = round_frames(count, multiple)
    if not rounded:
        raise InputError(f"{name} is {count}; 1, or a multiple of {multiple}, is accepted")
    if rounded != count:
        logger.warning("%s %d is rounded down to %d, a multiple of %d", name, count, rounded, multiple)
    return rounded


class Knowledge:
    """Conditioning frames and mask of each part of a video, read before the networks: bad files show at once."""

    def __init__(self, config: "EasyAnimateConfig", inputs: Inputs) -> None:
        self._video = None if inputs.source is None else know_video(config, inputs.source, inputs.mask)
        pictures = (inputs.start, config.start_image), (inputs.end, config.end_image)
        self._start, self._end = ([fit(each, config, path) for each in given] for given, path in pictures)

    @property
    def reference(self) -> np.ndarray | None:
        """The picture that the video begins with, or the first frame of what is made anew; None for neither."""
        if self._start:
            return self._start[0]
        return None if self._video is None else self._video.video[0]

    def of_part(self, count: int, before: list[np.ndarray], is_last: bool) -> Known | None:
        """The `Known`, or None.

        Args:
            count: frames of the part.
            before: the last frames of the part before; none of the first part.
            is_last: whether it is the last part.
        """
        if self._video is not None:
            return self._video
        start, end = before or self._start, self._end if is_last else []
        return know_pictures(count, start, end) if start else None


class _Latents:
    """The latents of the parts of a video, each denoised once, or by an earlier run.

    Args:
        state: a `RunState`.
        denoise: called with what is `Known` of a part and the number of its frames.
    """

    def __init__(self, state: RunState, denoise: Callable[[Known | None, int], paddle.Tensor]) -> None:
        self._state, self._denoise = state, denoise
        self._parts: list[paddle.Tensor] = []

    def of_part(self, number: int, known: Known | None, count: int) -> paddle.Tensor:
        """The latents of a part of so many frames; it is the one after those that were asked for, or one of them."""
        if number == len(self._parts):
            self._parts.append(self._state.part(lambda: self._denoise(known, count)))
        return self._parts[number]


def frame_maker(
    pipeline: EasyAnimateInpaintPipeline,
    config: "EasyAnimateConfig",
    knowledge: Knowledge,
    parts: list[tuple[int, int]],
    generator: str,
    state: RunState,
) -> Callable[[], Iterator[np.ndarray]]:
    """What gives an iterator over the frames of a video, (height, width, 3) uint8, each time that it is called.

    Each part is denoised once. `config`, whose seed is chosen, and `parts` are of `prepare`.
    """
    texts = pipeline.embed_both(config.prompt, config.negative_prompt)
    latents = _Latents(state, functools.partial(_denoise, pipeline, config, texts, generator))

    def make_frames() -> Iterator[np.ndarray]:
        anchor = ColourAnchor(config.color_correction_strength, knowledge.reference)
        return _frames(pipeline, knowledge, parts, latents, anchor)

    return make_frames


def _frames(
    pipeline: EasyAnimateInpaintPipeline,
    knowledge: Knowledge,
    parts: list[tuple[int, int]],
    latents: _Latents,
    anchor: ColourAnchor,
) -> Iterator[np.ndarray]:
    """The frames of the video one by one, (height, width, 3) uint8; each part begins with corrected ones."""
    before: list = []  # the frames that the part to come begins with
    for number, (start, count) in enumerate(parts):
        is_last = number == len(parts) - 1
        current_watch().part(number, len(parts))
        of_part = latents.of_part(number, knowledge.of_part(count, before, is_last), count)
        shared, faded = len(before), []
        kept = count if is_last else parts[number + 1][0] - start  # frames that the next part does not begin with
        decoded = told(anchor.correct_all(pixels_of(_chunks(pipeline.decode(of_part)))), DECODING, count)
        for i, frame in enumerate(decoded):
            frame = fade(before[i], frame, i / shared) if i < shared else frame
            if i < kept:
                yield frame
            else:
                faded.append(frame)
        before = faded


def _chunks(videos: Iterable[paddle.Tensor]) -> Iterator[paddle.Tensor]:
    """(1, 3, frames, height, width) -> (frames, 3, height, width), of each."""
    return (video[0].transpose([1, 0, 2, 3]) for video in videos)


def fade(first: np.ndarray, second: np.ndarray, part: float) -> np.ndarray:
    """Two frames, uint8, mixed: `part` of the second, from 0 to 1."""
    mixed = first.astype(np.float32) * (1 - part) + second.astype(np.float32) * part
    return mixed.round().astype(np.uint8)


def _denoise(
    pipeline: EasyAnimateInpaintPipeline,
    config: "EasyAnimateConfig",
    texts: tuple[Text, Text | None],
    generator: str,
    known: Known | None,
    count: int,
) -> paddle.Tensor:
    """The latents of a part."""
    video, mask = (None, None) if known is None else known.tensors()
    seen = None if known is None or known.picture is None else pipeline.embed_picture(known.picture)
    return pipeline(
        *texts,
        video=video,
        mask=mask,
        clip_tokens=seen,
        height=config.height,
        width=config.width,
        num_frames=count,
        num_inference_steps=config.num_inference_steps,
        guidance_scale=config.guidance_scale,
        guidance_rescale=config.guidance_rescale,
        strength=config.strength,
        clip_apply_ratio=config.clip_apply_ratio,
        generator=generator,
        sequential_guidance=get_rung(config.memory).computes_singly,
        **config.knobs,
        output_type="latent",
    ).frames


def _audio(config: "EasyAnimateConfig", source: FrameSource | None) -> Audio | None:
    """The `Audio` of the video that is made anew, or None."""
    if config.video is None or source is None or source.info is None or not config.audio or config.num_frames == 1:
        return None
    return Audio(config.video, first_frame=source.info.start)


def _write(
    config: "EasyAnimateConfig",
    frames: Iterable[np.ndarray],
    result: Result,
    audio: Audio | None,
    reference: np.ndarray | None,
    report: ResultReport | None,
) -> None:
    """Write frames as they come, a contact sheet, and a report against the start picture (or None)."""
    with timed(report, "denoising, decoding and writing"):
        sheet = _write_frames(config, frames, result, audio)
    if report is not None:
        report.seed = config.seed
    sides = SideOutputs(result.video)
    write_sheet(sides, result, sheet, report, reference, "start picture")
    sides.tell()


def _write_frames(
    config: "EasyAnimateConfig", frames: Iterable[np.ndarray], result: Result, audio: Audio | None
) -> list[np.ndarray]:
    """Write frames as they come, and return those that the contact sheet shows."""
    shown, sheet = shown_frames(result.num_frames), []
    if result.num_frames == 1:
        sheet = list(frames)
        write_image(result.video, sheet[0])
        return sheet
    fps = Fraction(config.fps).limit_denominator(1001)
    with VideoWriter(result.video, fps, config.width, config.height, audio=audio) as writer:
        for i, frame in enumerate(frames):
            writer.write(frame)
            if i in shown:
                sheet.append(frame)
    return sheet
