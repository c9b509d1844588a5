"""Draw the skeletons of a driving video, aligned with the person in a picture, as StableAnimator needs them.

    python -m scripts.skeleton_extraction --target_image_folder_path dance/images --ref_image_path me.png \\
        --poses_folder_path poses

Writes frame_0.png, frame_1.png and so on into the folder, at the picture's size; or an MP4 file, if its name ends so.
If they exist, --overwrite replaces them, and --skip-existing goes on with a run that was stopped.
"""

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.options import ExistingOptions, inherited, option, path_option
from ppdiffusers_ext.preprocess.estimators import DWPOSE, EMBEDDED

from . import poses
from .command import ArgumentParser, run

if TYPE_CHECKING:
    from ppdiffusers_ext.data.records import Made


@dataclass(frozen=True, kw_only=True)
class Options(poses.TrackedOptions, ExistingOptions):
    target_image_folder_path: str = path_option(help="folder of pictures, or a video file", metavar="DIR")
    ref_image_path: str = path_option(help="picture of the person")
    poses_folder_path: str = path_option(help="folder, or MP4 file, to write", metavar="DIR")
    original: bool = option(False, help="find, align and draw exactly as StableAnimator does")
    person: str = inherited(poses.TrackedOptions, "person", "largest")


def make_parser() -> ArgumentParser:
    return ArgumentParser("python -m scripts.skeleton_extraction", __doc__, Options)


def work(options: Options) -> None:
    """Estimate, align, draw; name the joints that the picture does not show."""
    from pathlib import Path

    from ppdiffusers_ext.data.existing import check_existing
    from ppdiffusers_ext.data.frames import FRAME_NAMES, open_frames
    from ppdiffusers_ext.data.outputs import check_outputs
    from ppdiffusers_ext.preprocess.videos import aligned_outputs, is_video, write_aligned_skeletons

    options = _as_original(options) if options.original else options
    target = Path(options.poses_folder_path)
    source, picture = open_frames(options.target_image_folder_path), open_frames(options.ref_image_path)
    outputs, track = aligned_outputs(source, target), None if options.original else poses.track_options(options)
    check_outputs(outputs[:1], [options.target_image_folder_path, options.ref_image_path])

    def made_of() -> "Made":
        inputs = {"--target_image_folder_path": source.digest(), "--ref_image_path": picture.digest()}
        return poses.made_of("skeleton_extraction", options, **inputs)

    pattern = None if is_video(target) else FRAME_NAMES
    results = check_existing(dict.fromkeys(outputs, made_of), options.overwrite, options.skip_existing, pattern)
    if not results.missing:
        print(f"kept {target}")
        return
    estimator = poses.make_estimator(options, "rgb", options.device)
    with results.recorded():
        alignment, _ = write_aligned_skeletons(
            source,
            picture,
            target,
            estimator,
            poses.style_of(options, "stable_animator"),
            "original" if options.original else "shape",
            track,
            poses.progress("skeletons"),
            wanted=set(results.missing),
        )
    if alignment is not None and alignment.missing:
        print(
            f"note: the picture does not show {', '.join(alignment.missing)}; aligned by the others", file=sys.stderr
        )
    print(f"wrote {target}")


def _as_original(options: Options) -> Options:
    """The options where all is to be as StableAnimator has it."""
    if options.poses == EMBEDDED:
        raise InputError(
            "--original finds people with DWPose, as StableAnimator does; --poses dwpose or no --original is accepted"
        )
    return replace(options, compatible=True, poses=DWPOSE)


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
