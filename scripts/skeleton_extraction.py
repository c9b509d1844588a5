"""Draw the skeletons of a driving video, aligned with the person in a picture, as StableAnimator needs them.

    python -m scripts.skeleton_extraction --target_image_folder_path dance/images --ref_image_path me.png \\
        --poses_folder_path poses

Writes frame_0.png, frame_1.png and so on into the folder, at the picture's size; or an MP4 file, if its name ends so.
With --save-poses also poses.json in the folder (NAME_poses.json beside a file), by which
`scripts.stable_animator --report` measures pose errors.
If they exist, --overwrite replaces them, and --skip-existing goes on with a run that was stopped.
"""

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.options import ExistingOptions, inherited, option, path_option
from ppdiffusers_ext.pipelines.jobs import Job
from ppdiffusers_ext.preprocess import completion
from ppdiffusers_ext.preprocess.estimators import DWPOSE, EMBEDDED

from . import poses
from .command import ArgumentParser, run

if TYPE_CHECKING:
    from ppdiffusers_ext.data.records import Made


@dataclass(frozen=True, kw_only=True)
class Options(poses.DriverOptions, ExistingOptions):
    target_image_folder_path: str = path_option(help="folder of pictures, or a video file", metavar="DIR")
    ref_image_path: str = path_option(help="picture of the person")
    poses_folder_path: str = path_option(help="folder, or MP4 file, to write", metavar="DIR")
    original: bool = option(False, help="find, align and draw exactly as StableAnimator does")
    person: str = inherited(poses.TrackedOptions, "person", "largest")
    unseen_joints: str = inherited(Job, "unseen_joints", completion.NONE)


def make_parser() -> ArgumentParser:
    return ArgumentParser("python -m scripts.skeleton_extraction", __doc__, Options)


def work(options: Options) -> None:
    """Estimate, align, draw; name the joints that the picture does not show."""
    from ppdiffusers_ext.data.existing import check_existing
    from ppdiffusers_ext.data.frames import FRAME_NAMES, open_frames, poses_path
    from ppdiffusers_ext.data.outputs import check_outputs
    from ppdiffusers_ext.preprocess.pose_file import as_drawn, pose_file
    from ppdiffusers_ext.preprocess.videos import aligned_outputs, find_poses, is_video, write_aligned_skeletons

    options = _as_original(options) if options.original else options
    target = options.poses_folder_path
    source, picture = open_frames(options.target_image_folder_path), open_frames(options.ref_image_path)
    drawings, track = aligned_outputs(source, target), None if options.original else poses.track_options(options)
    numbers = poses_path(target, not is_video(target)) if options.save_poses else None
    outputs = drawings if numbers is None else [numbers, *drawings]
    check_outputs(outputs[:2], [options.target_image_folder_path, options.ref_image_path])

    def made_of() -> "Made":
        inputs = {"--target_image_folder_path": source.digest(), "--ref_image_path": picture.digest()}
        return poses.made_of("skeleton_extraction", options, **inputs)

    pattern = None if is_video(target) else FRAME_NAMES
    results = check_existing(dict.fromkeys(outputs, made_of), options.overwrite, options.skip_existing, pattern)
    if not results.missing:
        print(f"kept {target}")
        return
    estimator, style = poses.make_estimator(options, "rgb", options.device), poses.style_of(options, "stable_animator")
    with results.recorded():
        aligned = write_aligned_skeletons(
            find_poses(source, picture, estimator, track, poses.progress("skeletons")),
            source,
            picture,
            target,
            style,
            "original" if options.original else "shape",
            wanted=set(results.missing),
            unseen=options.unseen_joints,
        )
        if numbers in results.missing:
            with pose_file(numbers, estimator.name, (picture.width, picture.height)) as file:
                for pose in aligned.drawn:
                    file.write(as_drawn(pose, style))
    if aligned.alignment is not None and aligned.alignment.missing:
        missing = ", ".join(aligned.alignment.missing)
        print(f"note: the picture does not show {missing}; aligned by the others", file=sys.stderr)
    if taken := ", ".join(aligned.from_picture):
        print(f"note: joints not seen in the driving video are taken from the picture: {taken}", file=sys.stderr)
    print(f"wrote {target}" if numbers is None else f"wrote {target}, {numbers}")


def _as_original(options: Options) -> Options:
    """The options where all is to be as StableAnimator has it."""
    if options.poses == EMBEDDED:
        raise InputError(
            "--original finds people with DWPose, as StableAnimator does; --poses dwpose or no --original is accepted"
        )
    if options.unseen_joints != completion.NONE:
        raise InputError(
            "--original draws what the driving video shows, as StableAnimator does; --unseen-joints none or no "
            "--original is accepted"
        )
    return replace(options, compatible=True, poses=DWPOSE)


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
