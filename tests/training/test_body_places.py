"""Where places of a frame lie in its reference, by the joints of both."""

import cv2
import numpy as np
import pytest

from ppdiffusers_ext.data.openpose import KEYPOINTS
from ppdiffusers_ext.data.synthetic import synthetic_clip
from ppdiffusers_ext.training.body_places import find_places

STANDING = {
    "nose": (50, 12), "neck": (50, 22), "r_eye": (48, 10), "l_eye": (52, 10), "r_ear": (45, 11), "l_ear": (55, 11),
    "r_shoulder": (43, 23), "r_elbow": (40, 36), "r_wrist": (39, 48), "l_shoulder": (57, 23), "l_elbow": (60, 36),
    "l_wrist": (61, 48), "r_hip": (46, 50), "r_knee": (46, 68), "r_ankle": (46, 88), "l_hip": (54, 50),
    "l_knee": (54, 68), "l_ankle": (54, 88),
}  # fmt: skip
GRID = np.stack(np.meshgrid(np.arange(0, 100, 2.0), np.arange(0, 100, 2.0)), -1).reshape(-1, 2)


def joints_of(places):
    return np.array([[*places[name], 0.9] if name in places else (0, 0, 0) for name in KEYPOINTS])


def index(name):
    return KEYPOINTS.index(name)


def moved_by(change):
    return {name: tuple(change(np.array(place, float))) for name, place in STANDING.items()}


@pytest.mark.parametrize(
    "change",
    [lambda p: p, lambda p: p + (7, -4), lambda p: 1.3 * p, lambda p: p @ [[0.8, 0.6], [-0.6, 0.8]] + (30, -20)],
    ids=["same", "beside", "nearer", "leaning"],
)
def test_whole_person_is_found_wherever_it_stands(change):
    places = find_places(GRID, joints_of(moved_by(change)), joints_of(STANDING))
    assert 300 < places.on_body.sum() < 1000
    np.testing.assert_allclose(change(places.points[places.on_body]), GRID[places.on_body], atol=1e-9)
    background = ~places.on_body
    np.testing.assert_array_equal(places.points[background], GRID[background])


def test_what_the_person_covers_in_the_reference_is_not_known():
    aside = joints_of(moved_by(lambda p: p + (30, 0)))
    places = find_places(np.array([[50.0, 35], [80, 35], [20, 35]]), aside, joints_of(STANDING))
    assert places.on_body.tolist() == [False, True, False]
    assert places.known.tolist() == [False, True, True]


def test_raised_arm_is_the_arm_that_hung():
    raised = joints_of({**STANDING, "l_elbow": (70, 20), "l_wrist": (80, 12)})
    hand, halfway = (80, 12), (75, 16)
    places = find_places(np.array([hand, halfway], float), raised, joints_of(STANDING))
    np.testing.assert_allclose(places.points, [[61, 48], [60.5, 42]], atol=1e-9)
    beyond = find_places(np.array([[82.0, 10.5]]), raised, joints_of(STANDING))
    assert beyond.on_body.all() and beyond.points[0, 1] > 48, "the hand goes on behind the wrist"


def test_trunk_from_behind_is_mirrored():
    turned = {{"r_": "l_", "l_": "r_"}.get(name[:2], name[:2]) + name[2:]: place for name, place in STANDING.items()}
    places = find_places(np.array([[47.0, 38]]), joints_of(turned), joints_of(STANDING))
    np.testing.assert_allclose(places.points, [[53, 38]], atol=1e-6)


@pytest.mark.parametrize("missing", ["r_shoulder", "l_hip"])
@pytest.mark.parametrize("where", [0, 1])
def test_without_shoulders_and_hips_all_is_background(missing, where):
    both = [joints_of(STANDING), joints_of(STANDING)]
    both[where][index(missing)] = 0
    places = find_places(GRID, *both)
    assert not places.on_body.any() and places.known.all()
    np.testing.assert_array_equal(places.points, GRID)


def test_no_joints_at_all_are_no_obstacle():
    places = find_places(GRID, np.zeros((18, 3)), np.zeros((18, 3)))
    np.testing.assert_array_equal(places.points, GRID)


def test_limb_that_the_reference_does_not_show_is_not_looked_for():
    raised = joints_of({**STANDING, "l_elbow": (75, 20), "l_wrist": (90, 12)})
    hidden = joints_of({name: place for name, place in STANDING.items() if name != "l_wrist"})
    at_hand = np.array([[88.0, 13]])
    assert find_places(at_hand, raised, joints_of(STANDING)).on_body.all()
    assert not find_places(at_hand, raised, hidden).on_body.any()


@pytest.mark.parametrize("degenerate", [{"l_elbow": (57, 23)}, {"r_hip": (50, 22), "l_hip": (50, 22)}])
def test_numbers_stay_finite_where_joints_fall_together(degenerate):
    for first, second in ((degenerate, {}), ({}, degenerate)):
        places = find_places(GRID, joints_of({**STANDING, **first}), joints_of({**STANDING, **second}))
        assert np.isfinite(places.points).all()


def test_reference_moved_by_the_joints_is_nearer_to_drawn_frames():
    """Where what is there can be known, by 3 dB at least: mean of six people, as the reference stands and later."""
    gains = []
    for seed in range(6):
        clip = synthetic_clip((5, seed), 13, 96, 96, 12, figures="detailed", still=1.0)
        joints = [np.concatenate([p.body[0], p.body_scores[0][:, None]], 1) * (96, 96, 1) for p in clip.skeletons]
        y, x = np.mgrid[:96, :96].reshape(2, -1)
        places = find_places(np.stack([x, y], 1) + 0.5, joints[-1], joints[0])
        way = (places.points - 0.5).reshape(96, 96, 2).astype(np.float32)
        moved = cv2.remap(clip.reference, way[..., 0], way[..., 1], cv2.INTER_LINEAR)
        known = places.known.reshape(96, 96)
        errors = [((frame - clip.target[-1].astype(float)) ** 2)[known].mean() for frame in (clip.reference, moved)]
        gains.append(10 * np.log10(errors[0] / errors[1]))
    assert np.mean(gains) > 3, gains
