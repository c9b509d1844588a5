from dataclasses import replace

import numpy as np
import pytest

from ppdiffusers_ext.data.figures.bodies import BUILDS, random_body
from ppdiffusers_ext.data.figures.motions import MOTIONS, random_motion, standing
from ppdiffusers_ext.data.figures.postures import place_joints


def generator(seed):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("kind", MOTIONS)
def test_bones_keep_their_lengths(kind):
    for seed in range(3):
        body = random_body(generator(seed))
        move = random_motion(generator(seed), body, kind)
        for index in range(0, 40, 7):
            joints = place_joints(body, move(index))
            for first, second, length in (
                ("shoulders", "elbows", body.upper_arm),
                ("elbows", "wrists", body.forearm),
                ("hips", "knees", body.thigh),
                ("knees", "ankles", body.shin),
            ):
                bones = np.linalg.norm(getattr(joints, first) - getattr(joints, second), axis=1)
                np.testing.assert_allclose(bones, length, rtol=1e-6)


@pytest.mark.parametrize("kind", MOTIONS)
def test_no_motion_jumps_and_feet_are_on_the_floor(kind):
    for seed in range(3):
        body = random_body(generator(seed))
        move = random_motion(generator(seed), body, kind)
        joints = [place_joints(body, move(index)) for index in range(30)]
        for name, most in (("wrists", 0.13), ("ankles", 0.09), ("pelvis", 0.06), ("skull", 0.07)):
            places = np.stack([getattr(joint, name) for joint in joints])
            assert np.linalg.norm(np.diff(places, axis=0), axis=-1).max() < most
        ankles = np.stack([joint.ankles for joint in joints])
        np.testing.assert_allclose(ankles[..., 1].min(axis=1), body.ankle, atol=1e-6)  # one foot at least


def test_a_foot_that_walks_stands_still_while_it_is_down():
    body = random_body(generator(1))
    move = random_motion(generator(1), body, "walk")
    feet = np.stack([move(index).feet for index in range(40)])
    is_down = (feet[:-1, :, 1] == 0) & (feet[1:, :, 1] == 0)
    steps = np.linalg.norm(np.diff(feet, axis=0), axis=-1)
    assert is_down.mean() > 0.4 and steps[is_down].max() < 1e-9
    assert steps[~is_down].max() > 0.03


def test_who_turns_round_turns_round():
    body = random_body(generator(4))
    move = random_motion(generator(4), body, "turn")
    fronts = np.stack([place_joints(body, move(index)).trunk[2] for index in range(90)])
    assert fronts[:, 2].min() < -0.95 and fronts[:, 2].max() > 0.95
    assert fronts[:, 0].min() < -0.95 and fronts[:, 0].max() > 0.95


def test_knees_bend_forward_and_fingers_towards_the_palm():
    body = random_body(generator(2))
    stand = standing(generator(0), yaw=0.4)
    joints = place_joints(body, replace(stand, pelvis=stand.pelvis * (1, 0.7, 1)))
    middle = 0.5 * (joints.hips + joints.ankles)
    assert ((joints.knees - middle) @ joints.trunk[2] > 0.1).all()
    fist, straight = (place_joints(body, replace(stand, curls=np.full(2, curl))) for curl in (1.0, 0.0))
    for side in (0, 1):
        moved = fist.hands[side, [8, 12, 16, 20]] - straight.hands[side, [8, 12, 16, 20]]
        assert (moved @ straight.palms[side] > 0).all()
        # Palms of hanging hands face the body.
        assert straight.palms[side] @ straight.trunk[0] * (1, -1)[side] > 0.5


def test_all_builds_come_up_and_differ():
    bodies = [random_body(generator(seed)) for seed in range(60)]
    assert {body.build for body in bodies} == set(BUILDS)
    mean = {
        build: np.mean([body.waist[0] / body.height for body in bodies if body.build == build]) for build in BUILDS
    }
    assert mean["heavy"] > 1.2 * mean["average"] > 1.2 * mean["slim"]
    assert max(body.height for body in bodies if body.build == "child") < 0.85
