"""What the commands that estimate poses share."""

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ppdiffusers_ext.options import option, path_option
from ppdiffusers_ext.preprocess import estimators

from .command import no_command
from .options import CommandOptions

if TYPE_CHECKING:
    from ppdiffusers_ext.data.records import Made
    from ppdiffusers_ext.data.skeletons import Style
    from ppdiffusers_ext.preprocess.estimators import Estimator
    from ppdiffusers_ext.preprocess.extraction import TrackOptions


@dataclass(frozen=True, kw_only=True)
class DeviceOptions(CommandOptions):
    """Where the networks run."""

    device: str = option("cpu", choices=("cpu", "gpu"), help="device of the networks: cpu or gpu", metavar="NAME")


@dataclass(frozen=True, kw_only=True)
class FinderOptions(CommandOptions):
    """What finds people."""

    poses: str = option(
        estimators.AUTO,
        choices=estimators.CHOICES,
        help="networks that find people: dwpose, embedded (MediaPipe's, which ship with the package), or auto: DWPose "
        "where its files are",
        metavar="NAME",
    )
    dwpose: str | None = path_option(
        None, help="folder of DWPose's ONNX files", unset=estimators.FOLDER, metavar="DIR"
    )


@dataclass(frozen=True, kw_only=True)
class DrawingOptions(FinderOptions):
    """That, and what of skeletons is drawn."""

    no_hands: bool = option(False, help="draw no hands")
    no_face: bool = option(False, help="draw no faces")
    compatible: bool = option(False, help="draw the originals' pixels, their slips included")


@dataclass(frozen=True, kw_only=True)
class EstimatorOptions(DrawingOptions, DeviceOptions):
    """Both, of a command that does nothing but that."""


@dataclass(frozen=True, kw_only=True)
class TrackedOptions(EstimatorOptions):
    """How the poses of a video become those of one person; as the originals' unless they are asked for."""

    person: str = option("surest", help="largest, surest, left, right, or a number from the left", metavar="WHO")
    gap: int = option(0, 0, 100_000, help="number of frames of absence that are filled")
    smoothing: float = option(0.0, 0, 1000, help="strength of the smoothing of motion; 1 suits most")


@dataclass(frozen=True, kw_only=True)
class DriverOptions(TrackedOptions):
    """That, of a command whose drawings drive animations."""

    save_poses: bool = option(
        False, help="also write the poses as JSON, where reports of animations find them (*poses.json)"
    )


def track_options(options: TrackedOptions) -> "TrackOptions":
    from ppdiffusers_ext.preprocess.extraction import TrackOptions

    return TrackOptions(options.person, options.gap, options.smoothing)


def make_estimator(
    options: FinderOptions, channels: str, device: str, threads: int | None = None, is_told: bool = True
) -> "Estimator":
    """The estimator that is asked for; says which on stderr, unless that is told already."""
    if is_told:
        print(estimators.describe_estimator(options.poses, options.dwpose), file=sys.stderr)
    return estimators.open_estimator(options.poses, options.dwpose, device, channels, threads)


def made_of(command: str, options: FinderOptions, **inputs: str) -> "Made":
    """The `Made` of skeletons: of the networks, what is drawn and how people are chosen, and of the command's inputs.

    Args:
        command: its name.
        inputs: name of an option, or words for an input -> digest of its content.
    """
    from ppdiffusers_ext.data.records import Made, digest, digest_of

    networks = [digest(path) for path in estimators.estimator_files(options.poses, options.dwpose)]
    flag = "--dwpose" if estimators.choose_estimator(options.poses, options.dwpose) == estimators.DWPOSE else "--poses"
    names = ("no_hands", "no_face", "compatible", "original", "person", "gap", "smoothing", "unseen_joints")
    given = {f"--{name.replace('_', '-')}": getattr(options, name) for name in names if hasattr(options, name)}
    return Made(command, {**inputs, flag: digest_of(networks)}, given)


def style_of(options: DrawingOptions, system: str) -> "Style":
    from ppdiffusers_ext.preprocess.extraction import style_of

    return style_of(system, not options.no_hands, not options.no_face, options.compatible)


def progress(title: str) -> Callable[[Any, int], Any]:
    """What shows a bar while frames are taken from an iterable."""
    from tqdm import tqdm

    from ppdiffusers_ext.pipelines.watching import POSES, told

    def show(frames: Iterable, count: int) -> Iterable:
        bar = tqdm(frames, desc=title, total=count, unit="frame", disable=None)  # in a terminal only
        return told(bar, POSES, count)

    return show


if __name__ == "__main__":
    sys.exit(no_command(__doc__, ("scripts.animate", "scripts.vid2pose", "scripts.skeleton_extraction")))
