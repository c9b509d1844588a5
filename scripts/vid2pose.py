"""Make the skeleton video of a video of a person, for scripts.pose2vid.

    python -m scripts.vid2pose --video_path dance.mp4

Writes dance_kps.mp4 beside it, drawn as Animate Anyone's released weights were trained with. A folder of pictures
is accepted too. A file that exists is refused: --overwrite replaces it, --skip-existing keeps it.
"""

import sys
from dataclasses import dataclass

from ppdiffusers_ext.options import ExistingOptions, path_option

from . import poses
from .command import ArgumentParser, run


@dataclass(frozen=True, kw_only=True)
class Options(poses.TrackedOptions, ExistingOptions):
    video_path: str = path_option(help="video, or a folder of pictures")
    output: str | None = path_option(None, help="file to write", unset="NAME_kps.mp4 beside the video")


def make_parser() -> ArgumentParser:
    return ArgumentParser("python -m scripts.vid2pose", __doc__, Options)


def work(options: Options) -> None:
    """Estimate, draw, and print the file."""
    from pathlib import Path

    from ppdiffusers_ext.data.existing import check_existing
    from ppdiffusers_ext.data.frames import open_frames
    from ppdiffusers_ext.data.outputs import beside, check_outputs
    from ppdiffusers_ext.preprocess.videos import write_skeleton_video

    video = Path(options.video_path)
    target = Path(options.output or beside(video, "kps.mp4"))
    source, track = open_frames(video), poses.track_options(options)
    check_outputs([target], [video])
    results = check_existing(
        {target: lambda: poses.made_of("vid2pose", options, **{"--video_path": source.digest()})},
        options.overwrite,
        options.skip_existing,
    )
    estimator, style = poses.make_estimator(options, "bgr", options.device), poses.style_of(options, "animate_anyone")
    with results.recorded():
        for path in results.missing:
            write_skeleton_video(video, path, estimator, style, track, poses.progress(video.name))
    print(f"wrote {target}" if results.missing else f"kept {target}")


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
