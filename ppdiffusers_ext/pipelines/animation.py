"""From a picture and any video of a person to an animation: poses, alignment, the animation itself, sound.

A system (`registry`) says how its skeletons are drawn and how it makes frames of them. Between the two lies a skeleton
video, which is what the systems were made for.
"""

import contextlib
import dataclasses
import functools
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image

from ppdiffusers_ext.data.audio import Audio
from ppdiffusers_ext.data.frames import FrameSource, open_frames, parse_range, resize
from ppdiffusers_ext.data.images import read_image, side_by_side, write_image
from ppdiffusers_ext.data.outputs import beside, check_outputs, scratch_folder
from ppdiffusers_ext.data.records import Made
from ppdiffusers_ext.data.video_writer import VideoWriter, check_video_rate
from ppdiffusers_ext.distributed.ranks import current_ranks
from ppdiffusers_ext.pipelines.existing import case_of, hold_results, made_of
from ppdiffusers_ext.pipelines.kept_poses import KeptPoses
from ppdiffusers_ext.pipelines.registry import SkeletonJob
from ppdiffusers_ext.pipelines.reporting import ResultReport, driver_of, stopwatch, versions
from ppdiffusers_ext.preprocess.extraction import draw
from ppdiffusers_ext.preprocess.videos import find_poses, write_aligned_skeletons

if TYPE_CHECKING:
    from fractions import Fraction

    from ppdiffusers_ext.data.existing import Results
    from ppdiffusers_ext.data.skeletons import Pose, Style
    from ppdiffusers_ext.pipelines.jobs import Job
    from ppdiffusers_ext.pipelines.outputs import Result
    from ppdiffusers_ext.preprocess.estimators import Estimator
    from ppdiffusers_ext.preprocess.videos import AlignedPoses


logger = logging.getLogger(__name__)

_OF_POSES = ("fps", "resize", "person", "gap", "smoothing")  # fields of a job that poses depend on, beside its inputs


@dataclass(frozen=True)
class JobInputs:
    """What a job reads, opened once.

    Attributes:
        image: the reference picture.
        source: the driving video.
        bounds: its first frame that is animated, and the one after the last.
        audio: its sound, checked, or None.
    """

    image: PIL.Image.Image
    source: FrameSource
    bounds: tuple[int, int]
    audio: Audio | None


class Animator:
    """Runs jobs with one configuration; poses' networks and the pipeline are loaded once.

    Args:
        system: an instance of one of `registry.SYSTEMS`.
        open_estimator: returns an `Estimator`; called when the first job needs it, after its inputs were checked.
        style: a `Style`.
        progress: see `preprocess.videos`.
        limit: frames at most; all if left out.
        keep: write an overlay video beside each result.
        networks: files of the networks that estimate poses, for the records of what results were made of.
    """

    def __init__(
        self,
        system: Any,
        open_estimator: "Callable[[], Estimator]",
        style: "Style",
        progress: Callable[[Any, int], Any],
        limit: int | None = None,
        keep: bool = False,
        networks: Sequence[Path] = (),
    ) -> None:
        self._system, self._open_estimator, self._style = system, open_estimator, style
        self._progress, self._limit, self._keep, self._networks = progress, limit, keep, networks

    @property
    def style(self) -> "Style":
        """How skeletons are drawn."""
        return self._style

    @functools.cached_property
    def estimator(self) -> "Estimator":
        """The `Estimator` of all jobs. Raises InputError, MissingFileError where its networks cannot be used."""
        return self._open_estimator()

    def open(self, job: "Job") -> JobInputs:
        """The `JobInputs` of a job, checked with its outputs.

        Raises:
            InputError, MissingFileError: inputs that cannot be read, a place that cannot be written.
        """
        image = read_image(job.reference_image)
        source = open_frames(job.driving_video)
        start, end = self._bounds(job, source)
        check_outputs(self.outputs(job), (job.reference_image, job.driving_video))
        fps = job.fps or source.fps
        check_video_rate(job.output, fps)
        audio = self._audio(job, source, start, source.resampled_count(fps, start, end) / fps)
        return JobInputs(image, source, (start, end), audio)

    def outputs(self, job: "Job") -> list[Path]:
        """Paths of all files that a job writes."""
        return [*self._system.outputs(job.output), *([_overlay(job.output)] if self._keep else [])]

    def hold(self, jobs: "Sequence[Job]", overwrite: bool = True, skip_existing: bool = False) -> "Results":
        """The `Results` of jobs, held against what exists; see `existing.hold_results`."""
        return hold_results([self._result_of(job) for job in jobs], overwrite, skip_existing)

    def _result_of(self, job: "Job") -> tuple:
        inputs: dict[str, Any] = {"--reference-image": job.reference_image, "--driving-video": job.driving_video}
        inputs |= {path.name: path for path in self._networks}
        return case_of("animate", self.outputs(job), inputs, self._system.config, job)

    def _audio(self, job: "Job", source: FrameSource, start: int, seconds: "float | Fraction") -> Audio | None:
        """The `Audio` of a job, checked, or None."""
        if not job.audio or source.info is None:
            return None
        audio = Audio(job.driving_video, source.start_of(start), source.info.start)
        audio.check(job.output, seconds)
        return audio

    def run(self, job: "Job", inputs: JobInputs | None = None) -> "Result":
        """Animate: the `Result` of `pose2vid`.

        Args:
            job: a `Job`.
            inputs: what `open` returned of it, which is called if they are left out.

        Raises:
            InputError, MissingFileError: what the user gave and cannot be used.
        """
        inputs, target = self.open(job) if inputs is None else inputs, Path(job.output)
        source, bounds = inputs.source, inputs.bounds
        seconds: dict[str, float] = {}
        with scratch_folder(target) as folder, self._kept_poses(job, bounds) as kept:
            picture, skeletons = folder / "reference.png", folder / "skeletons.mp4"
            image = np.asarray(inputs.image)
            write_image(picture, resize(image, self._system.width, self._system.height, job.resize))
            poses = self._write_skeletons(job, inputs, picture, skeletons, kept, seconds)
            _tell_joints(job, poses)
            report = self._report(job, poses, seconds) if self._system.config.report else None
            of_skeletons = SkeletonJob(skeletons, len(poses.drawn), target, job.seed, report)
            result = self._system.run(of_skeletons, picture, inputs.audio)
            if self._keep and current_ranks().is_first:
                self._write_overlay(job, source, bounds, picture, skeletons, poses.driving, result)
        return result

    def _kept_poses(self, job: "Job", bounds: tuple[int, int]) -> KeptPoses:
        """The poses that an earlier run of a job may have kept."""
        config = self._system.config

        def made() -> Made:
            inputs = {"--reference-image": job.reference_image, "--driving-video": job.driving_video}
            inputs |= {path.name: str(path) for path in self._networks}
            options = {f"--{name}": getattr(job, name) for name in _OF_POSES}
            system = {name: getattr(self._system, name) for name in ("width", "height", "device", "channels")}
            made = made_of("poses", inputs)
            return Made(made.command, made.inputs, {**options, "--frames": bounds, **system, **versions()})

        return KeptPoses(job.output, made, config.resume, config.overwrite)

    def _write_skeletons(
        self,
        job: "Job",
        inputs: JobInputs,
        picture: Path,
        skeletons: Path,
        kept: KeptPoses,
        seconds: dict[str, float],
    ) -> "AlignedPoses":
        """Write the skeletons of a job, of poses that an earlier run has kept or that are estimated now."""
        source, frames, fps = inputs.source, open_frames(picture), job.fps
        with stopwatch(seconds, "poses"):
            earlier = kept.read() if current_ranks().count == 1 else None  # ranks may not all see it
            if earlier is None:
                found = find_poses(source, frames, self.estimator, job.track, self._progress, inputs.bounds, fps)
            else:
                found = earlier
            style, unseen = self._style, job.unseen_joints
            poses = write_aligned_skeletons(found, source, frames, skeletons, style, job.align, fps, unseen=unseen)
        if earlier is None and current_ranks().is_first:
            kept.keep(found, seconds["poses"])
        return poses

    def _report(self, job: "Job", poses: "AlignedPoses", seconds: dict[str, float]) -> ResultReport:
        """The report of a job whose skeletons are drawn."""
        size, style = (self._system.width, self._system.height), self._style
        driver = driver_of(poses.drawn, *size, self.estimator.name, style.hands, style.face)
        driver = dataclasses.replace(driver, from_picture=poses.from_picture)
        config = self._system.config
        return ResultReport("animate", config, job, estimator=self.estimator, driver=driver, seconds=seconds)

    def _bounds(self, job: "Job", source: FrameSource) -> tuple[int, int]:
        start, end = parse_range(job.frames, source)
        return start, min(end, start + self._limit) if self._limit else end

    def _write_overlay(
        self,
        job: "Job",
        source: FrameSource,
        bounds: tuple[int, int],
        picture: Path,
        skeletons: Path,
        poses: "Sequence[Pose]",
        result: "Result",
    ) -> None:
        """NAME_overlay.mp4: the picture, the driving video with its skeleton, the aligned skeleton, the result."""
        target, fps = _overlay(result.video), job.fps or source.fps
        reference = np.asarray(PIL.Image.open(picture))
        drawn = draw(poses, source.width, source.height, self._style)
        rows = zip(source.resampled(fps, *bounds), drawn, open_frames(skeletons), open_frames(result.video))
        writer = None
        with contextlib.ExitStack() as stack:
            for driving, skeleton, aligned, frame in rows:
                row = side_by_side([reference, np.maximum(driving // 2, skeleton), aligned, frame])
                writer = writer or stack.enter_context(VideoWriter(target, fps, row.shape[1], row.shape[0]))
                writer.write(row)


def _tell_joints(job: "Job", poses: "AlignedPoses") -> None:
    """Say which joints the picture does not show, and which ones the driving video does not."""
    if poses.alignment is not None and poses.alignment.missing:
        logger.warning("%s does not show %s: aligned by the other joints",
                       job.reference_image, ", ".join(poses.alignment.missing))  # fmt: skip
    if poses.from_picture:
        logger.warning("joints not seen in the driving video are taken from the picture: %s; --unseen-joints none "
                       "leaves them out", ", ".join(poses.from_picture))  # fmt: skip


def _overlay(target: str | os.PathLike) -> Path:
    return beside(target, "overlay.mp4")
