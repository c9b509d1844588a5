"""Make the skeleton video of a video of a person, for scripts.pose2vid.

    python -m scripts.vid2pose --video_path dance.mp4

Writes dance_kps.mp4 beside it, drawn as Animate Anyone's released weights were trained with. A folder of pictures
is accepted too.
"""

import sys

from . import poses
from .command import run


def make_parser():
    parser = poses.make_parser("python -m scripts.vid2pose", __doc__)
    parser.add_argument("--video_path", required=True, metavar="FILE", help="video, or a folder of pictures")
    parser.add_argument("--output", metavar="FILE", help="default: NAME_kps.mp4 beside the video")
    parser.add_argument("--overwrite", action="store_true", help="make it again if it is there")
    poses.add_track(parser, "surest")
    return parser


def work(options):
    """Estimate, draw, and print the file."""
    from pathlib import Path

    from ppdiffusers_ext.data.outputs import beside
    from ppdiffusers_ext.preprocess.videos import write_skeleton_video

    video = Path(options.video_path)
    target = Path(options.output or beside(video, "kps.mp4"))
    if target.exists() and not options.overwrite:
        print(f"{target} is there already; --overwrite makes it again")
        return
    write_skeleton_video(
        video,
        target,
        poses.make_estimator(options, "bgr"),
        poses.style_of(options, "animate_anyone"),
        poses.track_options(options),
        poses.progress(video.name),
    )
    print(f"wrote {target}")


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
