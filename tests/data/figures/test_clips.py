from dataclasses import replace

import numpy as np
import pytest

from ppdiffusers_ext.data.figures import parts
from ppdiffusers_ext.data.figures.backgrounds import paint_background, random_background
from ppdiffusers_ext.data.figures.cameras import MOVES, random_camera
from ppdiffusers_ext.data.figures.clips import RECORDED, actor_of, draw_frame
from ppdiffusers_ext.data.figures.motions import MOTIONS, standing
from ppdiffusers_ext.data.figures.places import PLACES
from ppdiffusers_ext.data.figures.skeletons import GUESSED, SEEN
from ppdiffusers_ext.data.figures.surfaces import Canvas
from ppdiffusers_ext.data.skeletons import WEIGHTED
from ppdiffusers_ext.data.synthetic import synthetic_clip

SIDE = 160
# Which parts of the drawing a joint lies on: those of its own limb, and what clothes cover it with.
TORSO = {parts.TRUNK, parts.NECK, parts.HEM}
OWN = [{parts.HEAD}, TORSO | {parts.HAIR, parts.HEAD}]
for side in (0, 1):
    OWN += [
        TORSO | {parts.UPPER_ARM + side, parts.HAIR},
        {parts.UPPER_ARM + side, parts.FOREARM + side},
        {parts.FOREARM + side, parts.HAND + side},
    ]
for side in (0, 1):
    OWN += [
        TORSO | {parts.THIGH + side},
        {parts.THIGH + side, parts.SHIN + side, parts.HEM},
        {parts.SHIN + side, parts.FOOT + side},
    ]
OWN += [{parts.HEAD, parts.HAIR}] * 4


def detailed(seed, num_frames=2, side=64, **options):
    return synthetic_clip(seed, num_frames, side, side, figures="detailed", **options)


def part_at(frame, points):
    height, width = frame.parts.shape
    x, y = (np.clip(points * (width, height), 0, (width - 1, height - 1))).astype(int).T
    return frame.parts[y, x]


def still(seed, **changes):
    """An actor who stands still, and what a `changes` says of the posture."""
    actor = actor_of(seed)
    posture = replace(standing(np.random.default_rng(0)), **changes)
    return replace(actor, motion="wave", rest=posture, move=lambda index: posture)


def test_same_seed_gives_the_same_bits_and_longer_clips_begin_with_shorter_ones():
    first, second, longer = detailed(5), detailed(5), detailed(5, 3)
    for name in ("reference", "pose", "target", "face", "identity"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    np.testing.assert_array_equal(longer.target[:2], first.target)
    assert len({detailed(seed, 1).target.tobytes() for seed in range(4)}) == 4


def test_shapes_and_types():
    clip = synthetic_clip((1, 2), 2, 48, 80, entrance=1, figures="detailed", style=WEIGHTED)
    assert clip.reference.shape == (80, 48, 3) and clip.target.shape == clip.pose.shape == (3, 80, 48, 3)
    assert clip.face.shape == (3, 80, 48) and clip.target.dtype == clip.pose.dtype == clip.face.dtype == np.uint8
    assert clip.identity.std() == pytest.approx(1, rel=1e-5)
    assert len(clip.skeletons) == 3 and clip.skeletons[0].face.shape == (1, 68, 2)


def test_an_entrance_begins_at_the_reference_and_ends_in_the_motion():
    entering, alone = detailed(6, 2, entrance=4), detailed(6, 2)
    np.testing.assert_array_equal(entering.target[0], entering.reference)
    np.testing.assert_array_equal(entering.target[4:], alone.target)


def test_unknown_figures_are_refused():
    with pytest.raises(ValueError, match="'big' are not known; simple or detailed are accepted"):
        synthetic_clip(0, 1, 64, 64, figures="big")


def test_joints_lie_on_their_own_parts_of_the_figure():
    hits, hands, faces = np.zeros(18), [], []
    count = np.zeros(18)
    for number, motion in enumerate((*MOTIONS, RECORDED) * 2):
        actor = actor_of((3, number), motion=motion)
        frame = draw_frame(actor, actor.move(5), 5, SIDE, SIDE)
        pose, found = frame.pose, part_at(frame, frame.pose.body[0])
        for joint in np.nonzero(pose.body_scores[0] >= SEEN)[0]:
            hits[joint] += found[joint] in OWN[joint]
            count[joint] += 1
        for side in (0, 1):  # hands are given left first
            seen = pose.hands_scores[0, 1 - side] >= SEEN
            own = {parts.HAND + side, parts.FOREARM + side}
            hands += [part in own for part in part_at(frame, pose.hands[0, 1 - side])[seen]]
        seen = pose.face_scores[0] >= SEEN
        faces += [part in (parts.HEAD, parts.HAIR) for part in part_at(frame, pose.face[0])[seen]]
    assert count.min() >= 4
    assert hits.sum() / count.sum() > 0.97 and (hits / count).min() > 0.7
    assert len(hands) > 200 and np.mean(hands) > 0.85
    assert len(faces) > 300 and np.mean(faces) > 0.9


@pytest.mark.parametrize("yaw, seen", [(0.0, "nose r_eye l_eye r_ear l_ear"), (np.pi, ""), (np.pi / 2, "r_ear")])
def test_a_head_hides_what_is_on_its_other_side(yaw, seen):
    frame = draw_frame(still(2, yaw=yaw), still(2, yaw=yaw).rest, 0, SIDE, SIDE)
    names = dict(zip(("nose", "r_eye", "l_eye", "r_ear", "l_ear"), frame.pose.body_scores[0, [0, 14, 15, 16, 17]]))
    assert set(seen.split()) <= {name for name, score in names.items() if score >= SEEN}
    assert (frame.pose.face_scores > 0).any() == (yaw == 0)
    if yaw == np.pi / 2:
        assert names["l_ear"] == names["l_eye"] == 0
    if yaw == np.pi:
        assert names["nose"] == names["r_eye"] == names["l_eye"] == 0


def test_a_face_that_is_bowed_under_a_cap_is_not_found():
    actor = still(2)
    actor = replace(actor, body=replace(actor.body, hair_style="cap"))
    upright, bowed = (
        replace(actor.rest, pitch=pitch, head=np.array([0, head, 0])) for pitch, head in ((0, 0), (0.9, 0.5))
    )
    faces = [draw_frame(actor, posture, 0, SIDE, SIDE).pose.face_scores for posture in (upright, bowed)]
    assert (faces[0] > 0).all() and (faces[1] == 0).all()


def test_a_hand_behind_the_back_is_guessed_and_not_drawn():
    arms, forearms = np.array([[0.1, -1, -0.7], [0.25, -1, 0]]), np.array([[-1.0, -0.5, -0.1], [0.1, -1, 0.2]])
    for seed in range(3):
        actor = still(seed, arms=arms, forearms=forearms)
        actor = replace(actor, camera=replace(actor.camera, move="still", yaw=0.0))
        pose = draw_frame(actor, actor.rest, 0, SIDE, SIDE).pose
        assert pose.body_scores[0, 4] == GUESSED and pose.body_scores[0, 7] == SEEN
        assert (pose.hands_scores[0, 1] == 0).all() and (pose.hands_scores[0, 0] >= GUESSED).all()


def test_limbs_in_front_hide_those_behind_from_all_sides():
    arms, forearms = np.array([[0.1, -0.6, 1.0]] * 2), np.array([[-0.6, 0.1, 1.0]] * 2)
    for yaw, hides in ((0.0, False), (np.pi, True)):
        actor = still(1, yaw=yaw, arms=arms, forearms=forearms)
        frame = draw_frame(actor, actor.rest, 0, SIDE, SIDE)
        shown = np.isin(frame.parts, (parts.FOREARM, parts.FOREARM + 1)).sum() / (frame.parts > 0).sum()
        assert (shown < 0.01) == hides


@pytest.mark.parametrize("move", MOVES)
def test_picture_and_skeleton_move_alike_when_the_camera_does(move):
    actor = still(4)
    camera = replace(random_camera(np.random.default_rng(1)), move=move, amount=0.8, period=40, phase=0.0)
    actor = replace(actor, camera=camera)
    first, second = (draw_frame(actor, actor.rest, index, SIDE, SIDE) for index in (0, 10))
    middles = []
    for frame in (first, second):
        rows, columns = np.nonzero(frame.parts == parts.SHIN)
        middles.append(np.array([columns.mean(), rows.mean()]) + 0.5)
    shin = [frame.pose.body[0, [9, 10]].mean(axis=0) * frame.parts.shape for frame in (first, second)]
    np.testing.assert_allclose(middles[1] - middles[0], shin[1] - shin[0], atol=1.5)
    moved = np.abs(first.picture.astype(int) - second.picture).mean()
    assert (moved == 0) == (move == "still")


def test_as_many_cameras_are_still_as_are_asked_for_and_the_others_stay_as_they_are():
    moving, mixed, still_ones = (
        [random_camera(np.random.default_rng(seed), still=part) for seed in range(200)] for part in (0.0, 0.6, 1.0)
    )
    assert {camera.move for camera in still_ones} == {"still"}
    changed = [before.move != after.move for before, after in zip(moving, mixed)]
    assert 0.4 < np.mean(changed) < 0.6  # of the 0.6, one in six was still before
    for before, after in zip(moving, mixed):
        after = replace(after, move=before.move if after.move == "still" else after.move)
        assert repr(after) == repr(before)
    np.testing.assert_array_equal(
        synthetic_clip(2, 1, 32, 32, figures="detailed", still=1.0).target,
        draw_frame(actor_of(2, still=1.0), actor_of(2).move(0), 0, 32, 32).picture[None],
    )


def test_heads_are_white_in_the_masks():
    clip = detailed(3, 3, 128)
    for mask, pose in zip(clip.face, clip.skeletons):
        rows, columns = np.nonzero(mask == 255)
        x, y = pose.body[0, [0, 1]].T * 128
        assert rows.min() <= y[0] <= rows.max() and columns.min() <= x[0] <= columns.max()
        assert 0.004 < (mask == 255).mean() < 0.06 and rows.mean() < y[1]


def test_all_places_fill_the_picture_and_shadows_are_under_the_feet():
    for kind in PLACES:
        seed = next(n for n in range(200) if random_background(np.random.default_rng(n)).kind == kind)
        canvas = Canvas(64, 64)
        background = random_background(np.random.default_rng(seed))
        paint_background(background, random_camera(np.random.default_rng(0)).view(0, 0, 64, 64), canvas)
        assert canvas.color.min() > 0 and canvas.color.std() > 1
    actor = still(1)
    with_figure = draw_frame(actor, actor.rest, 0, SIDE, SIDE)
    canvas = Canvas(SIDE, SIDE)
    camera = actor.camera.lowered(actor.body.height)
    paint_background(actor.background, camera.view(0, 0, SIDE, SIDE), canvas)
    canvas.color *= actor.background.tint.astype(np.float32)
    darker = canvas.finish().astype(int).sum(axis=-1) - with_figure.picture.sum(axis=-1, dtype=int)
    floor = (with_figure.parts[::2, ::2] == 0) & (with_figure.parts[1::2, 1::2] == 0)
    for ankle in with_figure.pose.body[0, [10, 13]] * SIDE:
        x, y = ankle.astype(int)
        near = np.zeros_like(floor)
        near[y : y + 14, x - 10 : x + 11] = True
        assert darker[near & floor].mean() > 30  # of 765
    assert np.abs(darker[: SIDE // 8]).max() <= 3  # the sky, or the top of a wall, is in no shadow


def test_people_are_told_apart():
    cosines = np.corrcoef(np.stack([detailed(seed, 1, 16).identity for seed in range(16)]))[np.triu_indices(16, 1)]
    assert np.percentile(cosines, 90) < 0.9 and abs(cosines.mean()) < 0.4
