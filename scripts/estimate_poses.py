"""Estimate the poses of the people in a picture or a video, as numbers.

    python -m scripts.estimate_poses dance.mp4 --json dance.json

Writes JSON: `estimator`, and for each of `frames` its `people`. Each person has `body` (18 joints in OpenPose's
order), `left_hand` and `right_hand` (21 points each) and `face` (68 points). A point is [x, y, score] in pixels of the
upright picture; left and right are the person's own. What is not seen is null: a joint, a hand, a face.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ppdiffusers_ext.errors import counted
from ppdiffusers_ext.options import ExistingOptions, path_option

from . import poses
from .command import ArgumentParser, run

if TYPE_CHECKING:
    import numpy as np

    from ppdiffusers_ext.data.frames import FrameSource
    from ppdiffusers_ext.preprocess.skeletons import Pose


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
    from ppdiffusers_ext.data.outputs import check_outputs, output_file
    from ppdiffusers_ext.preprocess.estimators import choose_estimator

    source, target = open_frames(options.path), Path(options.json)
    name = choose_estimator(options.poses, options.dwpose)
    if options.json == "-":
        size, counts = (source.width, source.height), list[int]()
        sys.stdout.writelines(_texts(name, _estimate(options, source), size, counts))
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
    found, size, counts = _estimate(options, source), (source.width, source.height), list[int]()
    with results.recorded(), output_file(target) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for text in _texts(name, found, size, counts):
            file.write(text)
    print(
        f"wrote {target}: {counted(len(counts), 'frame')}, at most {counted(max(counts), 'person', 'people')} in one"
    )


def _estimate(options: Options, source: "FrameSource") -> "Iterator[Pose]":
    """The `Pose` of each frame."""
    estimator = poses.make_estimator(options, "rgb", options.device)
    return estimator(poses.progress("poses")(source.read(0, source.num_frames), source.num_frames))


def _texts(estimator: str, found: "Iterable[Pose]", size: tuple[int, int], counts: list[int]) -> Iterator[str]:
    """The parts of the JSON text, one frame after another; `counts` gets the number of people of each."""
    yield f'{{"estimator": {json.dumps(estimator)}, "frames": ['
    for pose in found:
        yield (",\n" if counts else "\n") + json.dumps({"people": people(pose, size)})
        counts.append(len(pose))
    yield "\n]}\n"


def people(pose: "Pose", size: tuple[int, int]) -> list[dict[str, Any]]:
    """The people of a frame, as in the JSON.

    Args:
        size: (width, height) of the frame in pixels.
    """
    return [
        {
            "body": _points(pose.body[i], pose.body_scores[i], size),
            "left_hand": _part(pose.hands[i, 0], pose.hands_scores[i, 0], size),
            "right_hand": _part(pose.hands[i, 1], pose.hands_scores[i, 1], size),
            "face": _part(pose.face[i], pose.face_scores[i], size),
        }
        for i in range(len(pose))
    ]


def _part(points: "np.ndarray", scores: "np.ndarray", size: tuple[int, int]) -> list | None:
    """The points of a hand or a face; None if none is seen."""
    return _points(points, scores, size) if (scores > 0).any() else None


def _points(points: "np.ndarray", scores: "np.ndarray", size: tuple[int, int]) -> list[list[float] | None]:
    """[x, y, score] of each point, to a hundredth of a pixel; None for one that is not seen."""
    rows = zip((points * size).tolist(), scores.tolist())
    return [[round(x, 2), round(y, 2), round(score, 4)] if score > 0 else None for (x, y), score in rows]


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
