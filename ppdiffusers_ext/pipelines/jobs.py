"""What `scripts.animate` is asked for: a picture, a driving video, and how. Imports no Paddle."""

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppdiffusers_ext.data.video_writer import SUFFIXES
from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.files import check_all_there, suffix_of
from ppdiffusers_ext.options import (
    FRAMES,
    any_of,
    check_options,
    inherited,
    merge,
    option,
    path_option,
)
from ppdiffusers_ext.pipelines.options import INPUT, OUTPUT, PoseOptions
from ppdiffusers_ext.pipelines.systems import POSED, get_system
from ppdiffusers_ext.preprocess import completion
from ppdiffusers_ext.preprocess.extraction import TrackOptions
from ppdiffusers_ext.preprocess.tracks import check_rule

_POSES = "Poses"
_INPUTS = ("reference_image", "driving_video")
_NEEDED = (*_INPUTS, "output")
_LONGEST = 2  # of the demo model's frames: most of the longer side, in shorter ones


@dataclass(frozen=True)
class Job:
    """A picture, a video that drives it, and how."""

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
    unseen_joints: str = option(
        completion.PICTURE,
        choices=completion.CHOICES,
        help="joints that the driving video never shows: picture takes them from the pose of the picture, none leaves "
        "them out",
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
        if suffix_of(self.output) not in SUFFIXES:
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


def load_model_config(
    name: str,
    path: str | os.PathLike | None,
    given: dict[str, Any],
    picture: str | None = None,
    is_small: bool = False,
) -> tuple[Any, bool]:
    """The configuration of a system that animates, and whether it is that of the small model which ships.

    The small model is taken where no other is named and no released weights are there. Its file is for a short clip;
    with it the whole video is animated unless `num_frames` is given, in the shape of the picture.

    Args:
        name: of the system.
        path: YAML file of the model; that of the released one if left out.
        given: options that go before the file's.
        picture: path of the picture; None for several.
        is_small: take the small model, whatever else is there; the system has one.

    Raises:
        MissingFileError, InputError: no such file, or keys or values that are not accepted.
    """
    system = get_system(name, POSED)
    if not is_small:
        config = system.options.load(path or system.config_file, **given)
        if path or system.demo_file is None or system.has_weights is None or system.has_weights(config):
            return config, False
    config = system.options.load(system.demo_file, **given)
    sides = {} if {"width", "height"} & set(given) else _sides_like(picture, config.width, system.side_multiple)
    return dataclasses.replace(config, num_frames=given.get("num_frames"), **sides), True


def _sides_like(picture: str | None, side: int, multiple: int) -> dict[str, int]:
    """Width and height with the aspect ratio of a picture, so that a square crop does not cut off heads.

    Args:
        picture: a path; one that is missing, or None for several pictures, leaves the sides as they are.
        side: the shorter one in pixels.
        multiple: pixels that sides are rounded to.
    """
    if picture is None or not os.path.isfile(picture):
        return {}
    from ppdiffusers_ext.data.images import picture_size

    size, longest = picture_size(picture), _LONGEST * side
    width, height = (min(longest, round(length / min(size) * side / multiple) * multiple) for length in size)
    return {"width": width, "height": height}
