"""Tracking of one person through a video: selection, gap filling, smoothing.

The One-Euro filter is that of Casiez, Roussel, Vogel 2012 ("1 Euro filter: a simple speed-based low-pass filter for
noisy input in interactive systems").
"""

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.preprocess.skeletons import Pose

_PARTS = {"body": "body_scores", "hands": "hands_scores", "face": "face_scores"}
_RULES = "largest, surest, left, right or a number from 0 (counted from the left)"
_LEAST_JOINTS = 3  # that are seen of a person
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


def choose_person(pose: Pose, rule: str | int = "largest", before: Pose | None = None) -> Pose:
    """`Pose` of one of the people in a frame, or of nobody if none is detected.

    Args:
        rule: "largest", "surest" (by the mean score of the body's joints), "left", "right" or a number, counted from
            the left.
        before: the `Pose` of the person in an earlier frame: whoever is nearest to it is taken for the same person,
            whatever the rule says, unless nobody is near.
    """
    people = [i for i in range(len(pose)) if pose.visible()[i].sum() >= _LEAST_JOINTS]
    if not people:
        return Pose.empty()
    boxes = {i: _box(pose.person(i)) for i in people}
    if before is not None and len(before):
        last = _box(before)
        overlaps = {i: _overlap(box, last) for i, box in boxes.items()}
        nearest = max(people, key=lambda i: overlaps[i])
        if overlaps[nearest] > 0:
            return pose.person(nearest)
    if rule == "largest":
        return pose.person(max(people, key=lambda i: _area(boxes[i])))
    if rule == "surest":
        return pose.person(max(people, key=lambda i: pose.body_scores[i].mean()))
    people.sort(key=lambda i: boxes[i][[0, 2]].sum())
    number = {"left": 0, "right": len(people) - 1}.get(str(rule))
    number = int(rule) if number is None else number
    return pose.person(people[number]) if number < len(people) else Pose.empty()


def follow_person(poses: Iterable[Pose], rule: str | int = "largest") -> Iterator[Pose]:
    """Iterable of `Pose` of a video's frames -> iterator over the `Pose` of one person in each; nobody in its gaps."""
    before = None
    for pose in poses:
        person = choose_person(pose, rule, before)
        before = person if len(person) else before
        yield person


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
        size = max(_box(pose)[2:] - _box(pose)[:2])
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


def _box(person: Pose) -> np.ndarray:
    """Left, top, right, bottom of the joints that are seen of one person."""
    joints = person.body[0][person.visible()[0]]
    return np.concatenate([joints.min(axis=0), joints.max(axis=0)])


def _area(box: np.ndarray) -> float:
    return float(np.prod(box[2:] - box[:2]))


def _overlap(box: np.ndarray, other: np.ndarray) -> float:
    """Common area as a part of both together, 0 if there is none."""
    common = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
    common = float(np.prod(np.maximum(common, 0)))
    return common / max(_area(box) + _area(other) - common, 1e-12)
