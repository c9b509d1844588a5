"""Joints that a driving video does not show are taken from the reference picture's own pose."""

import dataclasses

import numpy as np
import pytest

from ppdiffusers_ext.data.openpose import KEYPOINTS, LIMBS
from ppdiffusers_ext.data.skeletons import Pose
from ppdiffusers_ext.preprocess.alignment import fit
from ppdiffusers_ext.preprocess.completion import complete
from tests.support.people import person, together

SIZE = (600, 400)
HEAD, CHEST, HIPS, ARMS, LEGS = (0, 14, 15, 16, 17), (1, 2, 5), (8, 11), (3, 4, 6, 7), (9, 10, 12, 13)
MIRRORED = [0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10, 15, 14, 17, 16]
EVERY = set(range(18))
SHOWN = {
    "head": HEAD,
    "bust": (*HEAD, *CHEST),
    "bust with elbows": (*HEAD, *CHEST, 3, 6),
    "to the hips": (*HEAD, *CHEST, *ARMS, *HIPS),
    "below the neck": (*HIPS, *ARMS, *LEGS, 1, 2, 5),
    "legs": (*HIPS, *LEGS),
    "knees down": LEGS,
}


def clip(shown, count=40, reach=0.02, **options):
    """Frames of somebody of whom only some joints are shown, and who sways."""
    frames = []
    for i in range(count):
        pose = person(missing=EVERY - {*shown}, **options)
        if not {*HEAD} & {*shown}:
            pose.face_scores[:] = 0
        for hand, wrist in enumerate((7, 4)):
            if wrist not in shown:
                pose.hands_scores[:, hand] = 0
        frames.append(pose.moved(np.ones(2), reach * np.array([np.sin(i / 5), np.cos(i / 7)])))
    return frames


def aligned(reference, frames):
    alignment = fit(reference, frames, SIZE, SIZE)
    return [alignment(pose) for pose in frames]


def completed(reference, frames, size=SIZE):
    poses, names = complete(reference, aligned(reference, frames), size)
    return np.stack([pose.body[0] for pose in poses]), np.stack([pose.visible()[0] for pose in poses]), names


@pytest.mark.parametrize("shown", SHOWN.values(), ids=SHOWN)
def test_person_of_the_picture_stays_whole(shown):
    reference, frames = person(left=0.2, top=0.05, width=0.5, height=0.9), clip(shown, width=0.3, height=0.5)
    body, visible, names = completed(reference, frames)
    assert visible.all()
    assert [name for name in names if name in KEYPOINTS] == [KEYPOINTS[i] for i in range(18) if i not in shown]
    assert ("face" in names) == (0 not in shown) and ("l_hand" in names) == (7 not in shown)
    own = np.stack([pose.body[0] for pose in aligned(reference, frames)])
    assert np.array_equal(body[:, list(shown)], own[:, list(shown)])
    lengths = {limb: np.linalg.norm(body[:, limb[0]] - body[:, limb[1]], axis=-1) for limb in LIMBS}
    for (i, j), length in lengths.items():
        whole = np.linalg.norm(reference.body[0, i] - reference.body[0, j])
        assert length == pytest.approx(whole, rel=0.3, abs=0.02), f"{KEYPOINTS[i]}-{KEYPOINTS[j]} is torn"
    assert np.abs(np.diff(body, axis=0)).max() < 0.02


def test_only_the_head_moves_where_a_head_drives():
    reference = person(left=0.2, top=0.05, width=0.5, height=0.9)
    body, _, _ = completed(reference, clip(HEAD, reach=0.005))
    below = sorted(EVERY - {*HEAD})
    assert np.ptp(body[:, 0], axis=0).min() > 0
    assert body[:, below] == pytest.approx(np.broadcast_to(reference.body[0, below], body[:, below].shape), abs=1e-9)


def test_body_follows_a_head_that_goes_away():
    reference = person(left=0.2, top=0.05, width=0.5, height=0.9)
    frames = [pose.moved(np.ones(2), np.array([0.02 * i, 0])) for i, pose in enumerate(clip(HEAD, reach=0))]
    body, _, _ = completed(reference, frames)
    neck = np.linalg.norm((reference.body[0, 0] - reference.body[0, 1]) * SIZE[::-1])
    apart = body[:, 0] - body[:, 1] - (reference.body[0, 0] - reference.body[0, 1])
    assert np.linalg.norm(apart * SIZE[::-1], axis=-1).max() < neck / 2
    assert body[-1, 10, 0] - body[0, 10, 0] > 0.4 and np.diff(body[:, 10, 0]).min() >= 0


@pytest.mark.parametrize("shown", SHOWN.values(), ids=SHOWN)
@pytest.mark.parametrize("scale, offset", [((1, 1), (0.1, -0.2)), ((0.5, 0.5), (0.3, 0.1)), ((2.0, 2.0), (-0.4, 0))])
def test_picture_that_is_moved_or_scaled_moves_and_scales_the_result(shown, scale, offset):
    reference, frames = person(left=0.2, width=0.4), clip(shown, reach=0.06)
    scale, offset = np.array(scale), np.array(offset)
    body, visible, names = completed(reference, frames)
    moved, visible_moved, names_moved = completed(reference.moved(scale, offset), frames)
    assert moved[visible] == pytest.approx((body * scale + offset)[visible], abs=1e-9)
    assert np.array_equal(visible, visible_moved) and names == names_moved


def mirrored(pose):
    flipped = pose.moved(np.array([-1.0, 1.0]), np.array([1.0, 0.0]))
    return dataclasses.replace(
        flipped, body=flipped.body[:, MIRRORED], body_scores=flipped.body_scores[:, MIRRORED],
        hands=flipped.hands[:, ::-1], hands_scores=flipped.hands_scores[:, ::-1],
    )  # fmt: skip


@pytest.mark.parametrize("shown", [*SHOWN.values(), (*HEAD, *CHEST, 3, 6, 7)], ids=[*SHOWN, "bust with one arm"])
def test_mirrored_picture_and_video_mirror_the_result(shown):
    reference, frames = person(left=0.1, width=0.4), clip(shown, reach=0.06)
    reference.body[0, 4] += (0.1, -0.2)  # one hand is raised
    body, visible, names = completed(reference, frames)
    other, other_visible, other_names = completed(mirrored(reference), [mirrored(pose) for pose in frames])
    assert other[:, MIRRORED] * (-1, 1) + (1, 0) == pytest.approx(body, abs=1e-9)
    assert np.array_equal(other_visible[:, MIRRORED], visible)
    sides = str.maketrans("lr", "rl")
    assert {name[0].translate(sides) + name[1:] if name[1] == "_" else name for name in other_names} == {*names}


@pytest.mark.parametrize("joint", [4, 9, 1, 8, 0, 15])
def test_joint_that_is_hidden_in_some_frames_stays_as_it_is(joint):
    frames = clip(EVERY)
    for pose in frames[10:30]:
        pose.body_scores[0, joint] = 0.1
    poses, names = complete(person(), frames, SIZE)
    assert names == () and all(one is other for one, other in zip(poses, frames))


def test_what_hangs_at_a_hidden_joint_does_not_jump():
    frames = clip((*HEAD, *CHEST), reach=0.2)
    expected, _, _ = completed(person(), frames)
    for pose in frames[10:16]:
        pose.body_scores[0, list(CHEST)] = 0.1
        pose.body[0, list(CHEST)] = 7
    body, _, _ = completed(person(), frames)
    assert np.abs(np.diff(body[:, HIPS], axis=0)).max() < 2 * np.abs(np.diff(expected[:, HIPS], axis=0)).max() + 0.01


def test_glimpse_of_a_joint_does_not_make_it_jump():
    frames = clip(HEAD, count=100)
    for number in (20, 21, 60):
        frames[number].body_scores[0, list(CHEST)] = 0.9
        frames[number].body[0, list(CHEST)] = 0.9
    body, visible, names = completed(person(), frames)
    assert "neck" in names and visible.all() and np.abs(np.diff(body, axis=0)).max() < 0.02


def test_what_the_picture_does_not_show_is_not_made_up():
    reference = person(missing=(*LEGS, 4))
    reference.hands_scores[:] = 0
    _, visible, names = completed(reference, clip(HEAD))
    assert not visible[:, [*LEGS, 4]].any() and visible[:, [*CHEST, *HIPS, 3, 6, 7]].all()
    assert "r_hand" not in names and "l_hand" not in names
    # What hangs at something that is not there would float.
    _, visible, _ = completed(person(missing=HIPS), clip(HEAD))
    assert not visible[:, [*HIPS, *LEGS]].any()


@pytest.mark.parametrize("hidden", [(15, 17), (0, 14, 15), (2,), (2, 3, 4), (8,)], ids=str)
def test_body_that_is_turned_away_does_not_get_the_other_side_of_the_picture(hidden):
    frames = clip(EVERY - {*hidden})
    _, names = complete(person(), aligned(person(), frames), SIZE)
    assert names == ()


def test_nobody_stays_nobody():
    frames = clip(HEAD)
    with_gap = [*frames[:10], Pose.empty(), *frames[10:]]
    poses, _ = complete(person(), with_gap, SIZE)
    assert [len(pose) for pose in poses] == [len(pose) for pose in with_gap]
    for reference, driven in ((Pose.empty(), frames), (person(), [Pose.empty()] * 3), (person(), [])):
        poses, names = complete(reference, driven, SIZE)
        assert names == () and [len(pose) for pose in poses] == [len(pose) for pose in driven]


def test_first_person_of_the_picture_counts_and_nothing_given_is_changed():
    frames, reference = clip(HEAD), person()
    copies = [dataclasses.replace(pose, body=pose.body.copy(), body_scores=pose.body_scores.copy()) for pose in frames]
    alone, _ = complete(reference, frames, SIZE)
    crowd, _ = complete(together(reference, person(left=0.7, width=0.2)), frames, SIZE)
    for one, other, given, copy in zip(alone, crowd, frames, copies):
        assert np.array_equal(one.body, other.body)
        assert np.array_equal(given.body, copy.body) and np.array_equal(given.body_scores, copy.body_scores)
