"""From a picture and any video of a person to an animation: poses, alignment, the animation itself, sound.

A system (`registry`) says how its skeletons are drawn and how it makes frames of them. Between the two lies a skeleton
video, which is what the systems were made for.
"""

import contextlib
import logging
import os
from pathlib import Path

import numpy as np
import PIL.Image

from ppdiffusers_ext.data.audio import Audio
from ppdiffusers_ext.data.frames import open_frames, parse_range, resize
from ppdiffusers_ext.data.images import read_image, side_by_side, write_image
from ppdiffusers_ext.data.outputs import beside, check_outputs, scratch_folder
from ppdiffusers_ext.data.video_writer import VideoWriter, check_video_rate
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.pipelines.registry import SkeletonJob
from ppdiffusers_ext.preprocess.extraction import draw
from ppdiffusers_ext.preprocess.videos import write_aligned_skeletons

logger = logging.getLogger(__name__)


class Animator:
    """Runs jobs with one configuration; poses' networks and the pipeline are loaded once.

    Args:
        system: an instance of one of `registry.SYSTEMS`.
        estimator: a `PoseEstimator`.
        style: a `Style`.
        progress: see `preprocess.videos`.
        limit: frames at most; all if left out.
        keep: write an overlay video beside each result.
    """

    def __init__(self, system, estimator, style, progress, limit=None, keep=False):
        self._system, self._estimator, self._style = system, estimator, style
        self._progress, self._limit, self._keep = progress, limit, keep

    def check(self, job):
        """How many frames a job will have.

        Raises:
            InputError, MissingFileError: inputs that cannot be read, a place that cannot be written.
        """
        read_image(job.reference_image)
        source = open_frames(job.driving_video)
        start, end = self._bounds(job, source)
        check_outputs(self.outputs(job), (job.reference_image, job.driving_video))
        fps = job.fps or source.fps
        check_video_rate(job.output, fps)
        count = source.resampled_count(fps, start, end)
        self._audio(job, source, start, count / fps)
        return count

    def outputs(self, job):
        """Paths of all files that a job writes."""
        return [*self._system.outputs(job.output), *([_overlay(job.output)] if self._keep else [])]

    def check_apart(self, jobs, report=None):
        """Raises InputError if two jobs would write one file, or one writes what another reads, or the report."""
        taken = {} if report is None else {_identity(report): "the report"}
        for number, job in enumerate(jobs):
            for path in self.outputs(job):
                if (other := taken.setdefault(_identity(path), f"job {number}")) != f"job {number}":
                    raise InputError(f"job {number} and {other} would both write {path}; other names are accepted")
        for number, job in enumerate(jobs):
            for path in (job.reference_image, job.driving_video):
                writer = taken.get(_identity(path))
                if writer not in (None, f"job {number}") and _identity(path) not in {
                    _identity(job.output) for job in jobs
                }:
                    raise InputError(
                        f"{writer} would replace {path}, which job {number} reads; other names are accepted"
                    )

    def _audio(self, job, source, start, seconds):
        """The `Audio` of a job, checked, or None."""
        if not job.audio or source.names:
            return None
        audio = Audio(job.driving_video, source.start_of(start), source.info.start)
        audio.check(job.output, seconds)
        return audio

    def run(self, job):
        """Animate: the `Result` of `pose2vid`.

        Raises:
            InputError, MissingFileError: what the user gave and cannot be used.
        """
        count = self.check(job)
        source, target = open_frames(job.driving_video), Path(job.output)
        bounds = self._bounds(job, source)
        audio = self._audio(job, source, bounds[0], count / (job.fps or source.fps))
        with scratch_folder(target) as folder:
            picture, skeletons = folder / "reference.png", folder / "skeletons.mp4"
            image = np.asarray(read_image(job.reference_image))
            write_image(picture, resize(image, self._system.width, self._system.height, job.resize))
            alignment, poses = write_aligned_skeletons(
                job.driving_video,
                picture,
                skeletons,
                self._estimator,
                self._style,
                job.align,
                job.track,
                self._progress,
                bounds,
                job.fps,
            )
            if alignment is not None and alignment.missing:
                logger.warning("%s does not show %s: aligned by the other joints",
                               job.reference_image, ", ".join(alignment.missing))  # fmt: skip
            result = self._system.run(SkeletonJob(skeletons, len(poses), target, job.seed), picture, audio)
            if self._keep:
                self._write_overlay(job, source, bounds, picture, skeletons, poses, result)
        return result

    def _bounds(self, job, source):
        start, end = parse_range(job.frames, source)
        return start, min(end, start + self._limit) if self._limit else end

    def _write_overlay(self, job, source, bounds, picture, skeletons, poses, result):
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


def _identity(path):
    """What is the same of two names for one file; names that differ by case alone are taken for one."""
    return os.path.realpath(path).casefold()


def _overlay(target):
    return beside(target, "overlay.mp4")
