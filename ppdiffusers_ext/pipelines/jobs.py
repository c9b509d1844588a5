"""What `scripts.animate` is asked for: a picture and a driving video, or a batch file of many. Imports no Paddle."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppdiffusers_ext.data.video_writer import SUFFIXES
from ppdiffusers_ext.errors import InputError, check_keys, shown, shown_path
from ppdiffusers_ext.files import check_all_there, read_yaml
from ppdiffusers_ext.options import (
    FRAMES,
    any_of,
    by_field,
    check_options,
    check_values,
    inherited,
    merge,
    option,
    path_option,
)
from ppdiffusers_ext.pipelines.options import INPUT, OUTPUT, PoseOptions
from ppdiffusers_ext.preprocess.extraction import TrackOptions
from ppdiffusers_ext.preprocess.tracks import check_rule

_POSES = "Poses"
_INPUTS = ("reference_image", "driving_video")
_NEEDED = (*_INPUTS, "output")


@dataclass(frozen=True)
class Job:
    """A picture, a video that drives it, and how. Every field is a key of a batch file."""

    reference_image: str = path_option(help="picture of the person", group=INPUT)
    driving_video: str = path_option(help="video of a person who moves, or a folder of pictures", group=INPUT)
    output: str = path_option(help="video to write; PICTURE_VIDEO.mp4 in the working folder if left out", group=OUTPUT)
    frames: str | None = option(
        None, help="A:B, frames A to B - 1 of the driving video; B may be left out", unset="all", group=INPUT
    )
    fps: float | None = inherited(
        PoseOptions, "fps", None, help="frames per second of the result; its speed stays", unset="the driving video's"
    )
    resize: str = inherited(PoseOptions, "resize", "crop")
    person: int | str = option(
        "largest",
        help="who of the driving video: largest, surest, left, right, or a number from the left",
        group=_POSES,
    )
    align: str = option(
        "shape",
        choices=("shape", "original", "none"),
        help="how poses are moved to the body in the picture: by its shape, as the original does, or not at all",
        group=_POSES,
    )
    gap: int = option(5, 0, FRAMES[1], help="number of frames of absence that are filled", group=_POSES)
    smoothing: float = option(1.0, 0, 1000, help="strength of the smoothing of motion; 0 is none", group=_POSES)
    audio: bool = option(True, help="copy the sound of the video", group=OUTPUT)
    seed: int | None = inherited(PoseOptions, "seed", None, unset="that of the configuration")

    def __post_init__(self) -> None:
        check_options(self)
        if self.resize == "fit":
            object.__setattr__(self, "resize", "stretch")
        if Path(self.output).suffix.lower() not in SUFFIXES:
            raise InputError(
                f"output {shown(self.output)} is no name of a video; one that ends in {any_of(SUFFIXES)} is accepted"
            )
        check_rule(self.person)

    @property
    def track(self) -> TrackOptions:
        return TrackOptions(str(self.person), self.gap, self.smoothing)

    def check_inputs(self) -> None:
        """Raises MissingFileError for a picture or a video that is not there."""
        named = [("picture", self.reference_image), ("driving video", self.driving_video)]
        check_all_there(named, "files that are there are accepted")


def make_job(given: dict[str, Any]) -> Job:
    """The `Job` of fields that were given; its output is PICTURE_VIDEO.mp4 in the working folder if left out.

    Raises InputError where the picture or the video is missing.
    """
    if missing := [f"--{name.replace('_', '-')}" for name in _INPUTS if given.get(name) is None]:
        raise InputError(f"{', '.join(missing)} is missing; both, or --batch, are needed")
    output = "_".join(Path(given[name]).stem for name in _INPUTS) + ".mp4"
    return Job(**merge({"output": output}, given))


def read_jobs(path: str | os.PathLike, **defaults: Any) -> list[Job]:
    """The jobs of a batch file: a YAML file with `jobs`, a list of mappings with the fields of `Job` as keys.

    Args:
        defaults: fields of jobs that do not say them.

    Raises:
        MissingFileError, InputError: no such file, unknown keys, or values that are not possible.
    """
    name, values = shown_path(path), read_yaml(path)
    check_keys(values, ["jobs"], f"key in {name}")
    jobs = values.get("jobs")
    if not (isinstance(jobs, list) and jobs and all(isinstance(job, dict) for job in jobs)):
        raise InputError(f"{name} has no list of jobs; `jobs:` with a list of mappings is accepted")
    read = []
    for number, job in enumerate(jobs):
        job, used = by_field(Job, job, f"key in job {number} of {name}")
        if missing := {*_NEEDED} - set(job):
            raise InputError(f"job {number} of {name} lacks {', '.join(sorted(missing))}; all three are needed")
        check_values(Job, job, path, used)
        read.append(Job(**merge(defaults, job)))
    if len({Path(job.output).resolve() for job in read}) < len(read):
        raise InputError(f"two jobs of {name} have the same output; different names are accepted")
    return read
