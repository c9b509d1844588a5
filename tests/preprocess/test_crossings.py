"""Who was chosen stays who was chosen when people cross: generated walks, with the truth beside them."""

from dataclasses import replace

import numpy as np
import pytest

from ppdiffusers_ext.data.skeletons import Pose
from ppdiffusers_ext.preprocess.tracks import follow_person
from tests.support.people import person, together


class Walk:
    """A person who walks across the picture, swinging arms and legs.

    Args:
        random: numpy's generator.
        start, end: of the middle, fractions of the width, at the first and the last frame.
        height: of the body.
        seconds: of the walk.
    """

    def __init__(self, random, start, end, height, seconds):
        self.start, self.end, self.height, self.seconds = start, end, height, seconds
        self.top = 0.9 - height + random.uniform(-0.05, 0.05)
        self.phase, self.rate = random.uniform(0, 2 * np.pi), random.uniform(0.7, 1.3)
        self.width = height * random.uniform(0.35, 0.5)

    def middle(self, time):
        return self.start + (self.end - self.start) * time / self.seconds

    def pose(self, time, random, noise=0.004):
        swing = 0.1 * self.height * np.sin(self.phase + 2 * np.pi * self.rate * time)
        one = person(self.middle(time) - self.width / 2, self.top, self.width, self.height)
        body = one.body.copy()
        body[0, [4, 13], 0] += swing  # a hand and the other foot
        body[0, [7, 10], 0] -= swing
        body[0, [3, 12], 0] += swing / 2
        body[0, [6, 9], 0] -= swing / 2
        body += random.normal(0, noise, body.shape)
        return replace(one, body=body)


def crossing(seed, count=2, fps=25.0, hidden=0, mirrored=False, passes_one_way=False):
    """Frames (`Pose`) of people who cross, and for each frame the number of each of them, None for who is hidden.

    Who is nearer to the viewer hides another of whom the middle is within a third of the width, for so many frames at
    most. Detections are in a random order.
    """
    random = np.random.default_rng(seed)
    seconds = random.uniform(2, 4)
    walks = []
    for number in range(count):
        forth = passes_one_way or number % 2 == 0
        start, end = random.uniform(0.05, 0.3), random.uniform(0.7, 0.95)
        if passes_one_way:  # one overtakes the other
            start, end = (start, 0.95 - 0.2 * random.random()) if number % 2 else (start + 0.2, 0.65)
        walks.append(Walk(random, *((start, end) if forth else (end, start)), random.uniform(0.45, 0.8), seconds))
    near = random.permutation(count)  # who is nearer to the viewer comes first
    frames, truth, absent = [], [], [0] * count
    for frame in range(int(seconds * fps)):
        time = frame / fps
        seen = []
        for place, number in enumerate(near):
            walk = walks[number]
            covered = any(
                abs(walk.middle(time) - walks[other].middle(time)) < walk.width / 3 for other in near[:place]
            )
            absent[number] = absent[number] + 1 if covered else 0
            if frame == 0 or not 0 < absent[number] <= hidden:
                seen.append(int(number))
        seen = [seen[i] for i in random.permutation(len(seen))]
        poses = [walks[number].pose(time, random) for number in seen]
        pose = together(*poses) if poses else Pose.empty()
        if mirrored and len(pose):
            pose = replace(pose, body=pose.body * [-1, 1] + [1, 0])
        frames.append(pose)
        truth.append(seen)
    return frames, truth


def swaps(frames, truth, rule="left", follow=follow_person):
    """In how many frames somebody else is followed than in the first one, and in how many nobody though seen."""
    chosen, wrong, lost = None, 0, 0
    for pose, seen, found in zip(frames, truth, follow(frames, rule)):
        who = [number for i, number in enumerate(seen) if len(found) and (pose.body[i] == found.body[0]).all()]
        if chosen is None:
            (chosen,) = who
        wrong += bool(who and who[0] != chosen)
        lost += not who and chosen in seen
    return wrong, lost


CASES = {
    "two": {},
    "three": {"count": 3},
    "mirrored": {"mirrored": True},
    "overtaking": {"passes_one_way": True},
    "hidden for 5": {"hidden": 5},
    "hidden for 12": {"hidden": 12},
    "three, hidden for 8": {"count": 3, "hidden": 8},
    "12 frames a second": {"fps": 12.0},
    "12 frames a second, hidden for 5": {"fps": 12.0, "hidden": 5},
    "8 frames a second": {"fps": 8.0},
    "60 frames a second, hidden for 20": {"fps": 60.0, "hidden": 20},
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_chosen_person_stays_the_same_in_crossings(case):
    found = [swaps(*crossing(seed, **case)) for seed in range(12)]
    assert sum(wrong > 0 for wrong, _ in found) == 0
    assert sum(lost for _, lost in found) == 0
