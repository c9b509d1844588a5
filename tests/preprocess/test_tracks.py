"""One person through a video: who, gaps, trembling."""

from dataclasses import replace

import numpy as np
import pytest

from ppdiffusers_ext.data.skeletons import Pose
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.preprocess.tracks import (
    box_of,
    check_rule,
    choose_person,
    fill_gaps,
    follow_person,
    people_from_left,
    smooth,
)
from tests.support.people import person, together

LEFT, LARGE, RIGHT = person(0.0, 0.4, 0.2, 0.4), person(0.3, 0.0, 0.3, 0.9), person(0.7, 0.3, 0.2, 0.5, score=0.95)
CROWD = together(LARGE, RIGHT, LEFT)


def same(one, other):
    return len(one) == len(other) and all(
        (getattr(one, name) == getattr(other, name)).all() for name in Pose.__dataclass_fields__
    )


@pytest.mark.parametrize(
    "rule, expected",
    [
        ("largest", LARGE),
        ("surest", RIGHT),
        ("left", LEFT),
        ("right", RIGHT),
        ("0", LEFT),
        (1, LARGE),
        ("2", RIGHT),
        ("3", Pose.empty()),
    ],
)
def test_rule_chooses(rule, expected):
    assert same(choose_person(CROWD, check_rule(rule)), expected)


@pytest.mark.parametrize("rule", ["tallest", "-1", "", "1.5"])
def test_rule_that_is_not_known_is_refused(rule):
    with pytest.raises(InputError, match="largest, surest, left, right or a number from 0"):
        check_rule(rule)


def test_who_has_no_joints_to_speak_of_is_nobody():
    ghost = person(0.0, 0.0, 1.0, 1.0, score=0.2)
    assert same(choose_person(together(ghost, LEFT)), LEFT)
    assert len(choose_person(ghost)) == 0 and len(choose_person(Pose.empty())) == 0


def test_same_person_is_followed_where_another_becomes_larger():
    frames = [
        together(person(0.05 + 0.02 * i, 0.2, 0.3, 0.6), person(0.7, 0.1, 0.1 + 0.03 * i, 0.8)) for i in range(8)
    ]
    followed = list(follow_person(frames, "left"))
    assert all(same(pose, frame.person(0)) for pose, frame in zip(followed, frames))
    assert not same(choose_person(frames[-1]), frames[-1].person(0))


def test_person_who_left_is_known_again_where_it_returns():
    frames = [CROWD, RIGHT, Pose.empty(), together(RIGHT, LARGE), together(RIGHT, LARGE)]
    assert [same(pose, LARGE) for pose in follow_person([CROWD, Pose.empty(), together(RIGHT, LARGE)])] == [1, 0, 1]
    assert [len(pose) for pose in follow_person(frames)] == [1, 0, 0, 1, 1], "nobody takes its place while it is away"


def test_short_gaps_are_filled_in_a_straight_line():
    start, end = person(0.1, score=0.9), person(0.4, score=0.6)
    filled = list(fill_gaps([start, Pose.empty(), Pose.empty(), end], longest=2))
    assert [pose.body[0, 0, 0] for pose in filled] == pytest.approx(
        np.linspace(*(p.body[0, 0, 0] for p in (start, end)), 4)
    )
    assert filled[1].body_scores.max() == 0.6 and same(filled[0], start) and same(filled[3], end)


@pytest.mark.parametrize("away", [3, 5])
def test_longer_gaps_and_those_at_the_ends_stay(away):
    frames = [Pose.empty(), person(), *[Pose.empty()] * away, person(), Pose.empty()]
    assert [len(pose) for pose in fill_gaps(frames, longest=2)] == [0, 1, *[0] * away, 1, 0]


def test_filling_holds_no_more_than_a_gap():
    taken = []

    def frames():
        for i in range(100):
            taken.append(i)
            yield Pose.empty() if 10 <= i < 90 else person()

    for i, _ in enumerate(fill_gaps(frames(), longest=3)):
        assert len(taken) <= i + 5


def positions(poses):
    return np.array([pose.body[0, 0, 0] for pose in poses])


def test_trembling_is_smoothed():
    noise = np.random.default_rng(0).normal(0, 0.005, 200)
    frames = [person(0.3 + offset) for offset in noise]
    smoothed = positions(smooth(frames, 30))
    assert np.diff(smoothed).std() < 0.3 * np.diff(positions(frames)).std()


def test_fast_motion_does_not_lag_behind():
    frames = [person(0.1 + 0.02 * i) for i in range(30)]  # as wide as the person in less than a second
    lag = np.abs(positions(smooth(frames, 30)) - positions(frames))
    assert lag[-1] < 0.02  # less than a frame


def test_more_strength_smooths_more_and_none_not_at_all():
    noise = np.random.default_rng(0).normal(0, 0.005, 100)
    frames = [person(0.3 + offset) for offset in noise]
    steps = [np.diff(positions(smooth(frames, 30, strength))).std() for strength in (0, 0.5, 1, 2)]
    assert np.diff(positions(smooth(frames, 30))).std() == steps[2]
    assert steps == sorted(steps, reverse=True) and steps[0] == np.diff(positions(frames)).std()


def test_smoothing_starts_anew_after_nobody():
    frames = [person(0.1), person(0.1), Pose.empty(), person(0.5), person(0.5)]
    assert positions(list(smooth(frames, 30))[3:]) == pytest.approx(positions(frames[3:]))


def crossing(frames, seen=(0.0, 1.0), jitter=0.0, seed=0):
    """Two who walk past each other, with people's legs in two rhythms; of one behind the other only the front is seen.

    Args:
        seen: share of the crossing, by distance of the two in widths, in which the one behind is hidden.
    """
    random = np.random.default_rng(seed)
    ours, all_ = [], []
    for i in range(frames):
        share = i / (frames - 1)
        one = person(0.05 + 0.65 * share, 0.1, 0.22, 0.8)
        other = person(0.7 - 0.65 * share, 0.15, 0.2, 0.7)
        one, other = (stepping(each, 0.3 * i + phase) for each, phase in ((one, 0), (other, 2)))
        if jitter:
            for each in (one, other):
                each.body[:] += random.normal(0, jitter, each.body.shape)
        ours.append(one)
        hidden = abs(share - 0.5) * 1.3 < seen[0] * 0.2
        all_.append(other if hidden else together(*((one, other) if random.random() < 0.5 else (other, one))))
    return ours, all_


def stepping(pose, phase):
    """Legs and arms that swing."""
    body = pose.body.copy()
    for joints, sign in (((9, 10, 6, 7), 1), ((12, 13, 3, 4), -1)):
        body[0, list(joints), 0] += sign * 0.04 * np.sin(phase)
    return replace(pose, body=body)


@pytest.mark.parametrize("hidden", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("frames", [25, 60, 150])
@pytest.mark.parametrize("seed", range(4))
def test_chosen_person_stays_the_right_one_when_people_cross(frames, hidden, seed):
    ours, everyone = crossing(frames, (hidden, 1.0), 0.004, seed)
    followed = list(follow_person(everyone, "left"))
    for mine, pose, frame in zip(ours, followed, everyone):
        assert len(pose) == (len(frame) > 1), "is followed while it is seen, and nobody takes its place"
        assert not len(pose) or same(pose, mine)


def test_who_waits_is_not_taken_for_who_passes():
    waiting = person(0.4, 0.1, 0.2, 0.8)
    frames = [together(person(-0.1 + 0.03 * i, 0.1, 0.2, 0.8), waiting) for i in range(36)]
    assert all(same(pose, waiting) for pose in follow_person(frames, "1"))


def test_rule_chooses_again_after_a_long_absence():
    frames = [CROWD, *[RIGHT] * 90]
    followed = list(follow_person(frames))
    assert same(followed[0], LARGE) and not len(followed[50]) and same(followed[-1], RIGHT)


@pytest.mark.parametrize("seen, people", [(2, 0), (3, 1)])
def test_person_of_whom_three_joints_are_seen_is_one(seen, people):
    pose = person(missing=range(seen, 18))
    assert len(choose_person(pose)) == len(people_from_left(pose)) == people


def test_people_are_counted_by_the_middles_of_their_boxes():
    wide, narrow = person(0.0, width=1.0), person(0.2, 0.8, 0.2, 0.15)  # whose middles are at 0.5 and 0.3
    assert people_from_left(together(wide, narrow)) == [1, 0]
    assert people_from_left(together(narrow, person(score=0.1), wide)) == [0, 2]


def test_box_is_around_the_joints_that_are_seen():
    assert box_of(person(0.1, 0.2, 0.5, 0.4)) == pytest.approx([0.22, 0.228, 0.48, 0.588])
    assert box_of(person(0, 0, 1, 1, missing=(4, 10, 13, 14))) == pytest.approx([0.28, 0.07, 0.76, 0.75])


def test_largest_is_by_area():
    tall, broad = person(width=0.1, height=0.8), person(width=0.5, height=0.5)
    assert same(choose_person(together(tall, broad)), broad)


SIZE = 0.9 * 0.4  # of the longer side of the box around `at`


def at(steps, height=0.4):
    """A person who has gone so many of its sizes to the right; None for nobody."""
    return Pose.empty() if steps is None else person(SIZE * steps, 0.1, 0.2, height)


@pytest.mark.parametrize(
    "steps, expected",
    [
        ([0], 0.0),
        ([0, 0.5], 0.6),  # a fifth of the newest speed counts
        ([0, 0.5, None], 0.7),
        ([0, None, 0.5], 0.55),
        ([0, 0.5, 0.5], 0.58),  # 0.5, and four fifths of 0.1
    ],
)
def test_person_is_expected_where_its_motion_leads_and_is_another_beyond_six_tenths_of_its_size(steps, expected):
    for apart, is_followed in ((0.59, 1), (-0.59, 1), (0.61, 0), (-0.61, 0)):
        *_, last = follow_person([at(step) for step in (*steps, expected + apart)])
        assert len(last) == is_followed, apart


@pytest.mark.parametrize("apart, is_followed", [(0.59, 1), (0.61, 0)])
def test_joints_that_are_not_seen_tell_no_speed(apart, is_followed):
    moved = at(0.5)
    moved.body[0, 4], moved.body_scores[0, 4] = 100, 0.0
    assert len(list(follow_person([at(0), moved, at(0.6 + apart)]))[2]) == is_followed


def test_person_of_another_size_is_farther_away():
    larger, outcomes = at(0, height=0.8), []
    for step in (0.0, 0.1, 0.2, 0.3, 0.4):  # of its own size
        moved = larger.moved(np.ones(2), np.array([2 * SIZE * step, 0]))
        apart = np.linalg.norm(moved.body[0] - at(0).body[0], axis=-1).mean() / (2 * SIZE) + 0.3 * np.log(2)
        outcomes.append(apart < 0.6)
        for frames in ([at(0), moved], [moved, at(0)]):
            assert len(list(follow_person(frames))[1]) == outcomes[-1], step
    assert set(outcomes) == {False, True}


def test_people_are_assigned_such_that_they_are_nearest_all_in_all():
    """The left one is nearer to where the right one was, but then nobody would be near to where itself was."""
    frames = [together(at(0), at(0.5)), together(at(0.3), at(0.9))]
    assert same(list(follow_person(frames, "left"))[1], at(0.3))
    assert same(list(follow_person(frames, "right"))[1], at(0.9))


def test_who_shares_no_joint_that_was_seen_is_another():
    upper, lower = person(missing=range(8, 14)), person(missing=[i for i in range(18) if not 8 <= i < 14])
    assert [len(pose) for pose in follow_person([upper, lower])] == [1, 0]


def test_rule_chooses_again_after_sixty_frames():
    followed = list(follow_person([CROWD, *[RIGHT] * 61]))
    assert not any(map(len, followed[1:61])) and same(followed[61], RIGHT)
    followed = list(follow_person([CROWD, *[RIGHT] * 60, together(RIGHT, LARGE)]))
    assert same(followed[-1], LARGE)


def test_rule_chooses_in_the_first_frame_with_enough_people():
    followed = list(follow_person([Pose.empty(), RIGHT, CROWD], "1"))
    assert [len(pose) for pose in followed] == [0, 0, 1] and same(followed[2], LARGE)


def test_gap_is_filled_in_all_parts_with_the_lower_scores():
    start, end = person(0.1, score=0.9), person(0.4, 0.3, score=0.6)
    _, filled, _ = fill_gaps([start, Pose.empty(), end], longest=1)
    for part in ("body", "hands", "face"):
        assert getattr(filled, part) == pytest.approx((getattr(start, part) + getattr(end, part)) / 2)
        assert getattr(filled, f"{part}_scores") == pytest.approx(getattr(end, f"{part}_scores"))


@pytest.mark.parametrize("fps, strength", [(30, 1.0), (25, 2.0), (60, 0.5)])
def test_smoothing_is_the_filter_of_the_paper_in_sizes_of_the_person(fps, strength):
    """Casiez et al. 2012, algorithm 1: low-pass speed (cut-off 1 Hz) sets the cut-off of the position."""

    def weight(cutoff):
        return 1 / (1 + fps / (2 * np.pi * cutoff))

    frames = [at(step) for step in (0, 0.1, 0.15, -0.2)]
    x, speed = 0.0, 0.0
    for step, smoothed in zip((0.1, 0.15, -0.2), list(smooth(frames, fps, strength))[1:]):
        speed += weight(1.0) * ((step - x) * fps - speed)  # sizes per second
        x += weight((1 + 0.5 * fps * abs(speed)) / strength) * (step - x)
        for part in ("body", "hands", "face"):
            assert getattr(smoothed, part) == pytest.approx(getattr(at(x), part))
