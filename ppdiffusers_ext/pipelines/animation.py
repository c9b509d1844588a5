"""From a picture and any video of a person to an animation: poses, alignment, the animation itself, sound.

A system (`registry`) says how its skeletons are drawn and how it makes frames of them. Between the two lies a skeleton
video, which is what the systems were made for.
"""

import contextlib
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
from ppdiffusers_ext.data.video_writer import VideoWriter, check_video_rate
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.pipelines.existing import case_of, hold_results
from ppdiffusers_ext.pipelines.registry import SkeletonJob
from ppdiffusers_ext.pipelines.reporting import ResultReport, driver_of, stopwatch
from ppdiffusers_ext.preprocess.extraction import draw
from ppdiffusers_ext.preprocess.videos import write_aligned_skeletons

if TYPE_CHECKING:
    from fractions import Fraction

    from ppdiffusers_ext.data.existing import Results
    from ppdiffusers_ext.pipelines.jobs import Job
    from ppdiffusers_ext.pipelines.outputs import Result
    from ppdiffusers_ext.preprocess.alignment import Alignment
    from ppdiffusers_ext.preprocess.estimators import Estimator
    from ppdiffusers_ext.preprocess.skeletons import Pose, Style


logger = logging.getLogger(__name__)


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

    def check_apart(self, jobs: "Sequence[Job]", report: str | None = None) -> None:
        """Raises InputError if two jobs would write one file, or one writes what another reads, or the report."""
        taken: dict[str, str] = {} if report is None else {_identity(report): "the report"}
        for number, job in enumerate(jobs):
            for target in self.outputs(job):
                if (other := taken.setdefault(_identity(target), f"job {number}")) != f"job {number}":
                    raise InputError(f"job {number} and {other} would both write {target}; other names are accepted")
        for number, job in enumerate(jobs):
            for path in (job.reference_image, job.driving_video):
                writer = taken.get(_identity(path))
                if writer not in (None, f"job {number}") and _identity(path) not in {
                    _identity(job.output) for job in jobs
                }:
                    raise InputError(
                        f"{writer} would replace {path}, which job {number} reads; other names are accepted"
                    )

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
        with scratch_folder(target) as folder:
            picture, skeletons = folder / "reference.png", folder / "skeletons.mp4"
            image = np.asarray(inputs.image)
            write_image(picture, resize(image, self._system.width, self._system.height, job.resize))
            with stopwatch(seconds, "poses"):
                alignment, poses = self._write_skeletons(job, source, bounds, picture, skeletons)
            if alignment is not None and alignment.missing:
                logger.warning("%s does not show %s: aligned by the other joints",
                               job.reference_image, ", ".join(alignment.missing))  # fmt: skip
            report = self._report(job, poses, alignment, seconds) if self._system.config.report else None
            of_skeletons = SkeletonJob(skeletons, len(poses), target, job.seed, report)
            result = self._system.run(of_skeletons, picture, inputs.audio)
            if self._keep:
                self._write_overlay(job, source, bounds, picture, skeletons, poses, result)
        return result

    def _write_skeletons(
        self, job: "Job", source: FrameSource, bounds: tuple[int, int], picture: Path, skeletons: Path
    ) -> "tuple[Alignment | None, list[Pose]]":
        return write_aligned_skeletons(
            source,
            open_frames(picture),
            skeletons,
            self.estimator,
            self._style,
            job.align,
            job.track,
            self._progress,
            bounds,
            job.fps,
        )

    def _report(
        self, job: "Job", poses: "Sequence[Pose]", alignment: "Alignment | None", seconds: dict[str, float]
    ) -> ResultReport:
        """The report of a job whose poses are estimated, not yet aligned."""
        aligned = map(alignment, poses) if alignment is not None else poses
        size, style = (self._system.width, self._system.height), self._style
        driver = driver_of(aligned, *size, self.estimator.name, style.hands, style.face)
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


def _identity(path: str | os.PathLike) -> str:
    """What is the same of two names for one file; names that differ by case alone are taken for one."""
    return os.path.realpath(path).casefold()


def _overlay(target: str | os.PathLike) -> Path:
    return beside(target, "overlay.mp4")
