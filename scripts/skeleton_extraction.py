"""Draw the skeletons of a driving video, aligned with the person in a picture, as StableAnimator needs them.

    python -m scripts.skeleton_extraction --target_image_folder_path dance/images --ref_image_path me.png \\
        --poses_folder_path poses

Writes frame_0.png, frame_1.png and so on into the folder, at the picture's size; or an MP4 file, if its name ends so.
"""

import sys

from . import poses
from .command import run


def make_parser():
    parser = poses.make_parser("python -m scripts.skeleton_extraction", __doc__)
    parser.add_argument("--target_image_folder_path", required=True, metavar="DIR", help="pictures, or a video file")
    parser.add_argument("--ref_image_path", required=True, metavar="FILE", help="picture of the person")
    parser.add_argument("--poses_folder_path", required=True, metavar="DIR", help="folder, or MP4 file, to write")
    parser.add_argument("--original", action="store_true", help="find, align and draw exactly as StableAnimator does")
    poses.add_track(parser, "largest")
    return parser


def work(options):
    """Estimate, align, draw; name the joints that the picture does not show."""
    from ppdiffusers_ext.preprocess.videos import write_aligned_skeletons

    options.compatible |= options.original
    alignment, _ = write_aligned_skeletons(
        options.target_image_folder_path,
        options.ref_image_path,
        options.poses_folder_path,
        poses.make_estimator(options, "rgb"),
        poses.style_of(options, "stable_animator"),
        "original" if options.original else "shape",
        None if options.original else poses.track_options(options),
        poses.progress("skeletons"),
    )
    if alignment is not None and alignment.missing:
        print(
            f"note: the picture does not show {', '.join(alignment.missing)}; aligned by the others", file=sys.stderr
        )
    print(f"wrote {options.poses_folder_path}")


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
