"""From a picture and any video of a person to an animation: poses, alignment, the animation itself, sound.

A system (`systems`) says how its skeletons are drawn and how it makes frames of them. Between the two lies a skeleton
video, which is what the systems were made for.
"""

import contextlib
import logging
import tempfile
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import PIL.Image

from ppdiffusers_ext.data.audio import Audio
from ppdiffusers_ext.data.frames import open_frames, parse_range, resize
from ppdiffusers_ext.data.images import read_image, side_by_side, write_image
from ppdiffusers_ext.data.outputs import check_writable
from ppdiffusers_ext.data.video_writer import VideoWriter
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.files import read_yaml
from ppdiffusers_ext.pipelines.systems import SkeletonJob
from ppdiffusers_ext.pipelines.yaml_files import check_keys
from ppdiffusers_ext.preprocess.extraction import TrackOptions, draw
from ppdiffusers_ext.preprocess.tracks import check_rule
from ppdiffusers_ext.preprocess.videos import write_aligned_skeletons

logger = logging.getLogger(__name__)

_RESIZES, _ALIGNMENTS = ("fit", "crop", "pad"), ("shape", "original", "none")


@dataclass(frozen=True)
class Job:
    """A picture, a video that drives it, and how. Every field is a key of a batch file.

    Attributes:
        reference_image, driving_video, output: paths; the driving video may be a folder of pictures.
        frames: "A:B" of the driving video; all if left out.
        fps: of the result; the driving video's if left out. Its speed stays.
        resize: how the picture gets the size of the result: "fit", "crop" or "pad"; see `data.frames.resize`.
        person: who of the driving video; a rule of `tracks.choose_person`.
        align: "shape", "original" or "none"; see `preprocess.videos`.
        gap, smoothing: of `TrackOptions`.
        audio: whether the driving video's sound is copied.
        seed: instead of the configuration's.
    """

    reference_image: str
    driving_video: str
    output: str
    frames: str = None
    fps: float = None
    resize: str = "crop"
    person: str = "largest"
    align: str = "shape"
    gap: int = 5
    smoothing: float = 1.0
    audio: bool = True
    seed: int = None

    def __post_init__(self):
        for name, accepted in (("resize", _RESIZES), ("align", _ALIGNMENTS)):
            if getattr(self, name) not in accepted:
                raise InputError(f"{name} {getattr(self, name)!r} is not known; {', '.join(accepted)} is accepted")
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise InputError(f"fps is {self.fps}; a number above 0 and up to 1000 is accepted")
        if Path(self.output).suffix.lower() not in (".mp4", ".mov"):
            raise InputError(f"output {self.output} is not accepted; a file name that ends in .mp4 or .mov is")
        check_rule(self.person)

    @property
    def track(self):
        return TrackOptions(self.person, self.gap, self.smoothing)


def read_jobs(path, **defaults):
    """The jobs of a batch file: a YAML file with `jobs`, a list of mappings with the fields of `Job` as keys.

    Args:
        defaults: fields of jobs that do not say them.

    Raises:
        MissingFileError, InputError: no such file, unknown keys, or values that are not possible.
    """
    values = read_yaml(path)
    check_keys(values, ["jobs"], f"key in {path}")
    jobs = values.get("jobs")
    if not (isinstance(jobs, list) and jobs and all(isinstance(job, dict) for job in jobs)):
        raise InputError(f"{path} has no list of jobs; `jobs:` with a list of mappings is accepted")
    read = []
    for number, job in enumerate(jobs):
        check_keys(job, [item.name for item in fields(Job)], f"key in job {number} of {path}")
        if missing := {"reference_image", "driving_video", "output"} - set(job):
            raise InputError(f"job {number} of {path} lacks {', '.join(sorted(missing))}; all three are needed")
        read.append(Job(**{**defaults, **job}))
    if len({Path(job.output).resolve() for job in read}) < len(read):
        raise InputError(f"two jobs of {path} have the same output; different names are accepted")
    return read


class Animator:
    """Runs jobs with one configuration; poses' networks and the pipeline are loaded once.

    Args:
        system: an instance of one of `systems.SYSTEMS`.
        estimator: a `PoseEstimator`.
        style: a `Style`.
        progress: as of `preprocess.videos`.
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
        check_writable(job.output)
        return source.resampled_count(job.fps or source.fps, start, end)

    def run(self, job):
        """Animate: the `Result` of `pose2vid`.

        Raises:
            InputError, MissingFileError: what the user gave and cannot be used.
        """
        self.check(job)
        source, target = open_frames(job.driving_video), Path(job.output)
        bounds = self._bounds(job, source)
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.stem[:40]}.") as folder:
            picture, skeletons = Path(folder) / "reference.png", Path(folder) / "skeletons.mp4"
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
            audio = Audio(job.driving_video, source.start_of(bounds[0])) if job.audio and not source.names else None
            result = self._system.run(SkeletonJob(skeletons, len(poses), target, job.seed), picture, audio)
            if self._keep:
                self._write_overlay(job, source, bounds, picture, skeletons, poses, result)
        return result

    def _bounds(self, job, source):
        start, end = parse_range(job.frames, source)
        return start, min(end, start + self._limit) if self._limit else end

    def _write_overlay(self, job, source, bounds, picture, skeletons, poses, result):
        """NAME_overlay.mp4: the picture, the driving video with its skeleton, the aligned skeleton, the result."""
        target, fps = result.video.with_name(f"{result.video.stem}_overlay.mp4"), job.fps or source.fps
        reference = np.asarray(PIL.Image.open(picture))
        drawn = draw(poses, source.width, source.height, self._style)
        rows = zip(source.resampled(fps, *bounds), drawn, open_frames(skeletons), open_frames(result.video))
        writer = None
        with contextlib.ExitStack() as stack:
            for driving, skeleton, aligned, frame in rows:
                row = side_by_side([reference, np.maximum(driving // 2, skeleton), aligned, frame])
                writer = writer or stack.enter_context(VideoWriter(target, fps, row.shape[1], row.shape[0]))
                writer.write(row)
