"""Estimate the poses of the people in a picture or a video, as numbers.

    python -m scripts.estimate_poses dance.mp4 --json dance.json

Writes JSON: `estimator`, and for each of `frames` its `people`. Each person has `body` (18 joints in OpenPose's
order), `left_hand` and `right_hand` (21 points each) and `face` (68 points). A point is [x, y, score] in pixels of the
upright picture; left and right are the person's own. What is not seen is null: a joint, a hand, a face.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ppdiffusers_ext.errors import counted
from ppdiffusers_ext.options import ExistingOptions, path_option

from . import poses
from .command import ArgumentParser, run

if TYPE_CHECKING:
    from ppdiffusers_ext.data.frames import FrameSource
    from ppdiffusers_ext.data.skeletons import Pose


@dataclass(frozen=True, kw_only=True)
class Options(poses.FinderOptions, poses.DeviceOptions, ExistingOptions):
    path: str = path_option(help="picture, video, or folder of pictures", metavar="PATH", is_positional=True)
    json: str = path_option(help="file to write; - prints the numbers")


def make_parser() -> ArgumentParser:
    return ArgumentParser("python -m scripts.estimate_poses", __doc__, Options)


def work(options: Options) -> None:
    """Estimate, write, and print how many people were found."""
    from pathlib import Path

    from ppdiffusers_ext.data.existing import check_existing
    from ppdiffusers_ext.data.frames import open_frames
    from ppdiffusers_ext.data.outputs import check_outputs
    from ppdiffusers_ext.preprocess.estimators import choose_estimator
    from ppdiffusers_ext.preprocess.pose_file import PoseFile, pose_file

    source, target = open_frames(options.path), Path(options.json)
    name = choose_estimator(options.poses, options.dwpose)
    size = (source.width, source.height)
    if options.json == "-":
        found = _estimate(options, source)
        with PoseFile(sys.stdout, name, size) as file:
            for pose in found:
                file.write(pose)
        return
    check_outputs([target], [options.path])
    results = check_existing(
        {target: lambda: poses.made_of("estimate_poses", options, PATH=source.digest())},
        options.overwrite,
        options.skip_existing,
    )
    if not results.missing:
        print(f"kept {target}")
        return
    found = _estimate(options, source)
    with results.recorded(), pose_file(target, name, size) as file:
        for pose in found:
            file.write(pose)
    frames, most = counted(len(file.counts), "frame"), counted(max(file.counts), "person", "people")
    print(f"wrote {target}: {frames}, at most {most} in one")


def _estimate(options: Options, source: "FrameSource") -> "Iterator[Pose]":
    """The `Pose` of each frame."""
    estimator = poses.make_estimator(options, "rgb", options.device)
    return estimator(poses.progress("poses")(source.read(0, source.num_frames), source.num_frames))


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
