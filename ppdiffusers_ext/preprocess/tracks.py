"""Tracking of one person through a video: selection, gap filling, smoothing.

The One-Euro filter is that of Casiez, Roussel, Vogel 2012 ("1 Euro filter: a simple speed-based low-pass filter for
noisy input in interactive systems").
"""

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from ppdiffusers_ext.data.skeletons import Pose
from ppdiffusers_ext.errors import InputError, shown

_PARTS = {"body": "body_scores", "hands": "hands_scores", "face": "face_scores"}
_RULES = "largest, surest, left, right or a number from 0 (counted from the left)"
_LEAST_JOINTS = 3  # that are seen of a person
# Following: frames for which somebody may be away; distance in sizes of the body from which it is somebody else; what
# another size adds to the distance; weight of the newest speed.
_PATIENCE, _FAR, _GROWTH, _NEW_SPEED = 60, 0.6, 0.3, 0.2
# One-Euro: hertz below which motion is smoothed when nothing moves, how much faster motion raises that, and the
# frequency at which speed itself is smoothed.
_LEAST_CUTOFF, _SPEED_COEFFICIENT, _SPEED_CUTOFF = 1.0, 0.5, 1.0


def check_rule(rule: str | int) -> str | int:
    """Check a rule for choosing a person and return it.

    Raises:
        InputError: there is no such rule.
    """
    if rule not in ("largest", "surest", "left", "right") and not re.fullmatch("[0-9]{1,4}", str(rule)):
        raise InputError(f"person {shown(rule)} is not known; {_RULES} is accepted")
    return rule


def choose_person(pose: Pose, rule: str | int = "largest") -> Pose:
    """`Pose` of one of the people in a frame, or of nobody if none is detected.

    Args:
        rule: "largest", "surest" (by the mean score of the body's joints), "left", "right" or a number, counted from
            the left.
    """
    index = _choose(pose, _people(pose), rule)
    return Pose.empty() if index is None else pose.person(index)


def _people(pose: Pose) -> list[int]:
    """Numbers of the people of whom enough is seen."""
    return [i for i in range(len(pose)) if pose.visible()[i].sum() >= _LEAST_JOINTS]


def people_from_left(pose: Pose) -> list[int]:
    """Numbers of the people of whom enough is seen, in the order in which a rule counts them."""
    return sorted(_people(pose), key=lambda i: box_of(pose.person(i))[[0, 2]].sum())


def _choose(pose: Pose, people: list[int], rule: str | int) -> int | None:
    """Number of the person among `people` whom a rule means."""
    if not people:
        return None
    boxes = {i: box_of(pose.person(i)) for i in people}
    if rule == "largest":
        return max(people, key=lambda i: _area(boxes[i]))
    if rule == "surest":
        return max(people, key=lambda i: pose.body_scores[i].mean())
    people = people_from_left(pose)
    number = {"left": 0, "right": len(people) - 1}.get(str(rule))
    number = int(rule) if number is None else number
    return people[number] if number < len(people) else None


@dataclass
class _Track:
    """A person in the frames so far.

    Attributes:
        joints: (18, 2) where they were in the last frame with this person.
        seen: (18,) bool: which of them were seen there.
        speed: (2,) of the body in fractions of the frame, a frame.
        size: of the body, in the same unit.
        absent: frames since then.
    """

    joints: np.ndarray
    seen: np.ndarray
    speed: np.ndarray
    size: float
    absent: int = 0

    @classmethod
    def of(cls, person: Pose) -> "_Track":
        return cls(person.body[0], person.visible()[0], np.zeros(2), _size(person))

    def distance(self, person: Pose) -> float:
        """How far a person is from where this one is expected, and how differently held: in sizes of the body."""
        common = self.seen & person.visible()[0]
        if not common.any():
            return math.inf
        expected = self.joints[common] + self.speed * (self.absent + 1)
        apart = float(np.linalg.norm(person.body[0][common] - expected, axis=-1).mean())
        sizes = sorted((self.size, _size(person)))
        return apart / max(sizes[1], 1e-6) + _GROWTH * math.log(sizes[1] / max(sizes[0], 1e-6))

    def update(self, person: Pose) -> None:
        """Take a person for this one."""
        common = self.seen & person.visible()[0]
        moved = (person.body[0][common] - self.joints[common]).mean(axis=0) / (self.absent + 1)
        self.speed = self.speed + _NEW_SPEED * (moved - self.speed)
        self.joints, self.seen, self.size, self.absent = person.body[0], person.visible()[0], _size(person), 0


def follow_person(poses: Iterable[Pose], rule: str | int = "largest") -> Iterator[Pose]:
    """Iterable of `Pose` of a video's frames -> iterator over the `Pose` of one person in each; nobody in its gaps.

    The rule chooses in the first frame with people. All people are followed by where their motion leads them and how
    they hold themselves, so that the chosen one stays the same when another crosses its way, hides it, or is larger.
    After it was away for long, the rule chooses again.
    """
    tracks: list[_Track] = []
    chosen: _Track | None = None
    for pose in poses:
        people = _people(pose)
        taken = _assign(tracks, [pose.person(i) for i in people])
        for track in tracks:
            track.absent += 1
        for number, track in taken.items():
            track.absent -= 1
            track.update(pose.person(people[number]))
        for number, i in enumerate(people):
            if number not in taken:
                taken[number] = _Track.of(pose.person(i))
                tracks.append(taken[number])
        tracks = [track for track in tracks if track.absent <= _PATIENCE]
        if chosen is None or not any(chosen is track for track in tracks):
            index = _choose(pose, people, rule)
            chosen = None if index is None else taken[people.index(index)]
        mine = [people[number] for number, track in taken.items() if track is chosen]
        yield pose.person(mine[0]) if mine else Pose.empty()


def _assign(tracks: list[_Track], people: list[Pose]) -> dict[int, _Track]:
    """Number of a person -> the track that it goes on, of those that are near enough; the nearest all in all."""
    if not tracks or not people:
        return {}
    costs = np.array([[min(track.distance(person), _FAR) for person in people] for track in tracks])
    return {j: tracks[i] for i, j in zip(*linear_sum_assignment(costs)) if costs[i, j] < _FAR}


def fill_gaps(poses: Iterable[Pose], longest: int) -> Iterator[Pose]:
    """Interpolate linearly across gaps of up to `longest` frames in which a person is not detected.

    Scores in a gap are the lower ones of its two ends. Gaps at the start and at the end stay.

    Args:
        poses: iterable of `Pose` of one person or nobody. Read as it goes: no more than a gap is held.
        longest: frames.

    Yields:
        As many `Pose`.
    """
    before: Any = None  # the last `Pose` of a person, if there is one
    gap: list[Pose] = []
    for pose in poses:
        if not len(pose):
            gap.append(pose)
            if before is None or len(gap) > longest:
                yield from gap  # too long already: what follows in it is passed on as it comes
                before, gap = None, []
            continue
        for i in range(len(gap)):
            yield _between(before, pose, (i + 1) / (len(gap) + 1))
        yield pose
        before, gap = pose, []
    yield from gap


def smooth(poses: Iterable[Pose], fps: float | Fraction, strength: float = 1.0) -> Iterator[Pose]:
    """Remove jitter from a person's motion and keep fast motion, with a One-Euro filter.

    Args:
        poses: iterable of `Pose` of one person or nobody; after nobody it starts anew.
        fps: frames per second.
        strength: 1 suits most videos, 0 is off, larger values smooth more.

    Yields:
        As many `Pose`.
    """
    states: dict = {}
    for pose in poses:
        if not len(pose) or strength == 0:
            states = {}
            yield pose
            continue
        size = max(box_of(pose)[2:] - box_of(pose)[:2])
        smoothed = {}
        for part in _PARTS:
            states[part] = _one_euro(getattr(pose, part), states.get(part), float(fps), strength, size)
            smoothed[part] = states[part][0]
        yield replace(pose, **smoothed)


def _one_euro(
    points: np.ndarray, state: tuple[np.ndarray, np.ndarray] | None, fps: float, strength: float, size: float
) -> tuple[np.ndarray, np.ndarray]:
    """(smoothed points, smoothed speeds) from those of the frame before; speeds in sizes of the person per second."""
    if state is None:
        return points, np.zeros_like(points)
    last, last_speed = state
    speed = last_speed + _share(_SPEED_CUTOFF, fps) * ((points - last) * fps / max(size, 1e-6) - last_speed)
    magnitude = np.linalg.norm(speed, axis=-1, keepdims=True)
    cutoff = (_LEAST_CUTOFF + _SPEED_COEFFICIENT * fps * magnitude) / strength
    return last + _share(cutoff, fps) * (points - last), speed


def _share(cutoff: np.ndarray | float, fps: float) -> np.ndarray | float:
    """The weight of the new value in an exponential mean of a cut-off frequency."""
    return 1 / (1 + fps / (2 * math.pi * cutoff))


def _between(start: Pose, end: Pose, share: float) -> Pose:
    points = {part: (1 - share) * getattr(start, part) + share * getattr(end, part) for part in _PARTS}
    scores = {name: np.minimum(getattr(start, name), getattr(end, name)) for name in _PARTS.values()}
    return Pose(**points, **scores)


def box_of(person: Pose) -> np.ndarray:
    """Left, top, right, bottom of the joints that are seen of one person."""
    joints = person.body[0][person.visible()[0]]
    return np.concatenate([joints.min(axis=0), joints.max(axis=0)])


def _size(person: Pose) -> float:
    """The longer side of a person's box."""
    box = box_of(person)
    return float((box[2:] - box[:2]).max())


def _area(box: np.ndarray) -> float:
    return float(np.prod(box[2:] - box[:2]))
