"""Make the skeleton video of a video of a person, for scripts.pose2vid.

    python -m scripts.vid2pose --video_path dance.mp4

Writes dance_kps.mp4 beside it, drawn as Animate Anyone's released weights were trained with; with --save-poses also
dance_kps_poses.json, by which `scripts.pose2vid --report` measures pose errors. A folder of pictures is accepted too.
A file that exists is refused: --overwrite replaces it, --skip-existing keeps it.
"""

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ppdiffusers_ext.options import ExistingOptions, path_option

from . import poses
from .command import ArgumentParser, run

if TYPE_CHECKING:
    from ppdiffusers_ext.data.records import Made


@dataclass(frozen=True, kw_only=True)
class Options(poses.DriverOptions, ExistingOptions):
    video_path: str = path_option(help="video, or a folder of pictures")
    output: str | None = path_option(None, help="file to write", unset="NAME_kps.mp4 beside the video")


def make_parser() -> ArgumentParser:
    return ArgumentParser("python -m scripts.vid2pose", __doc__, Options)


def work(options: Options) -> None:
    """Estimate, draw, and print the file."""
    from pathlib import Path

    from ppdiffusers_ext.data.existing import check_existing
    from ppdiffusers_ext.data.frames import open_frames, poses_path
    from ppdiffusers_ext.data.outputs import beside, check_outputs
    from ppdiffusers_ext.preprocess.videos import write_skeleton_video

    video = Path(options.video_path)
    target = Path(options.output or beside(video, "kps.mp4"))
    source, track = open_frames(video), poses.track_options(options)
    numbers = poses_path(target, False) if options.save_poses else None
    targets = [target] if numbers is None else [target, numbers]
    check_outputs(targets, [video])

    def made_of() -> "Made":
        return poses.made_of("vid2pose", options, **{"--video_path": source.digest()})

    results = check_existing(dict.fromkeys(targets, made_of), options.overwrite, options.skip_existing)
    estimator, style = poses.make_estimator(options, "bgr", options.device), poses.style_of(options, "animate_anyone")
    if results.missing:
        video_target, poses_target = (path if path in results.missing else None for path in (target, numbers))
        progress = poses.progress(video.name)
        with results.recorded():
            write_skeleton_video(video, video_target, estimator, style, track, progress, poses_target)
    for path in targets:
        print(f"wrote {path}" if path in results.missing else f"kept {path}")


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
