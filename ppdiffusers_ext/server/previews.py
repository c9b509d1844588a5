"""What is seen of people before a run: who is in a picture, and how the poses of a video will lie over it.

Imports Paddle, by `running`. The alignment is that of `scripts.animate`: the same functions on the same frames, but of
a long video on fewer of them.
"""

import io
from collections import OrderedDict
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image

from ppdiffusers_ext.data.frames import FrameSource, open_frames, resize
from ppdiffusers_ext.data.images import write_image
from ppdiffusers_ext.preprocess import estimators, extraction, tracks
from ppdiffusers_ext.preprocess.videos import follow, place
from ppdiffusers_ext.server.execution import Task
from ppdiffusers_ext.server.refusals import Refusal
from ppdiffusers_ext.server.running import animator_of, opened_estimator

if TYPE_CHECKING:
    from ppdiffusers_ext.data.skeletons import Pose
    from ppdiffusers_ext.pipelines.animation import JobInputs

MOST_FRAMES = 120  # in which people are looked for; of a longer video as many, evenly spread
_MOST_READ = 3000  # frames of a video, from the first that is animated on, that these are taken of
_LEAST_SIDE = 384  # pixels of the picture that is shown: those of a small model are too few to see anything
_MOST_SHOWN = 1024  # pixels of its longer side
_MOST_SIDE = 2048  # pixels of the picture in which the person is looked for: a larger run's picture is shrunk first
_MOST_KEPT = 4  # videos whose poses are remembered, so that other ways to align them are shown at once


def find_people(path: Path, frame: int, person: str) -> tuple[dict[str, Any], bytes]:
    """See `Jobs.preview_poses`: what is found, and the picture as PNG.

    Raises:
        InputError: no such frame, or no such person.
    """
    tracks.check_rule(person)
    source = open_frames(path)
    if not 0 <= frame < source.num_frames:
        raise Refusal("frame", frame=frame, last=source.num_frames - 1)
    (pixels,) = source.read(frame, frame + 1)
    estimator = opened_estimator(estimators.AUTO, "rgb", "cpu")
    (pose,) = estimator([pixels])
    chosen = tracks.choose_person(pose, person)
    people = []
    for index in tracks.people_from_left(pose):
        box = tracks.box_of(pose.person(index)) * np.tile((source.width, source.height), 2)
        is_chosen = len(chosen) > 0 and np.array_equal(chosen.body[0], pose.body[index])
        score = float(pose.body_scores[index].mean())
        people.append(
            {"box": [round(float(value), 1) for value in box], "score": round(score, 3), "chosen": is_chosen}
        )
    if people and not any(each["chosen"] for each in people):
        raise Refusal("person", person=person, last=len(people) - 1)
    style = extraction.style_of("animate_anyone")
    (skeleton,) = extraction.draw([pose], source.width, source.height, style)
    drawn = np.maximum(pixels // 2, skeleton)
    facts = {"width": source.width, "height": source.height, "estimator": estimator.name, "people": people}
    return facts, _png(drawn)


@dataclass(frozen=True)
class _Seen:
    """The poses of all people in the frames of a video, and how they were taken.

    Attributes:
        poses: one of each frame.
        fps: frames per second of these.
        bounds: frames of the video that they are of.
        count: frames of the run.
    """

    poses: "list[Pose]"
    fps: float | Fraction
    bounds: tuple[int, int]
    count: int

    def index_of(self, frame: int, source: FrameSource) -> int:
        """Which of the poses is that of a frame of the video, or the nearest."""
        start, end = self.bounds
        seconds = source.start_of(min(max(frame, start), end - 1)) - source.start_of(start)
        return min(int(seconds * float(self.fps) + 0.5), len(self.poses) - 1)


class Previews:
    """Shows alignments, and remembers what is slow: the poses that were found."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple, Any] = OrderedDict()

    def align(self, task: Task, frame: int, folder: Path) -> tuple[dict[str, Any], bytes]:
        """See `Jobs.preview_alignment`: what is found, and the picture as PNG.

        Args:
            task: with a driving video.
            frame: of the video.
            folder: that a picture may be written into.

        Raises:
            InputError: files that cannot be read, or poses that cannot be aligned.
        """
        job, animator = task.animation, animator_of(task)
        assert job is not None
        inputs, estimator = animator.open(job), animator.estimator
        config, source = task.config, inputs.source
        size = _within(config.width, config.height, 0, _MOST_SIDE)
        path = folder / "reference.png"
        write_image(path, resize(np.asarray(inputs.image), *size, job.resize))
        picture = open_frames(path)
        of = (task.files["reference_image"].path, size, job.resize, estimator.name)
        of_picture = self._remembered(of, lambda: next(iter(estimator(picture.read(0, 1)))))
        seen = self._seen(task, inputs, estimator)
        aligned = place(follow(of_picture, seen.poses, seen.fps, job.track), source, picture, job.align,
                        job.unseen_joints)  # fmt: skip
        index = seen.index_of(frame, source)
        shown = resize(np.asarray(inputs.image), *_within(*size, _LEAST_SIDE, _MOST_SHOWN), job.resize)
        drawn = extraction.draw([aligned.drawn[index]], shown.shape[1], shown.shape[0], animator.style)
        facts = {
            "width": config.width,
            "height": config.height,
            "frames": len(seen.poses),
            "of": seen.count,
            "is_exact": len(seen.poses) == seen.count,
            "has_person": len(aligned.drawn[index]) > 0,
            "missing": list(aligned.alignment.missing) if aligned.alignment else [],
            "from_picture": list(aligned.from_picture),
        }
        return facts, _png(np.maximum(shown // 2, next(drawn)))

    def _seen(self, task: Task, inputs: "JobInputs", estimator: estimators.Estimator) -> _Seen:
        """The poses in the driving video of a task."""
        job, source, (start, end) = task.animation, inputs.source, inputs.bounds
        assert job is not None
        fps = job.fps or source.fps
        count = source.resampled_count(fps, start, end)
        if count > MOST_FRAMES:
            end = min(end, start + _MOST_READ)
            fps = fps * MOST_FRAMES / source.resampled_count(fps, start, end)
        of = (task.files["driving_video"].path, start, end, float(fps), estimator.name)
        poses = self._remembered(of, lambda: list(estimator(source.resampled(fps, start, end))))
        return _Seen(poses, fps, (start, end), count)

    def _remembered(self, key: tuple, find: Any) -> Any:
        if key not in self._kept:
            self._kept[key] = find()
        self._kept.move_to_end(key)
        while len(self._kept) > 2 * _MOST_KEPT:
            self._kept.popitem(last=False)
        return self._kept[key]


def _within(width: int, height: int, least: int, most: int) -> tuple[int, int]:
    """The size of the same shape whose shorter side is at least `least`, if the longer one is then at most `most`."""
    scale = min(max(1.0, least / min(width, height)), most / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()
