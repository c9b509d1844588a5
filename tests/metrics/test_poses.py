"""Errors of poses that are known: moved by so many pixels, and without so many joints."""

from dataclasses import replace

import numpy as np
import pytest

from ppdiffusers_ext.data.skeletons import VISIBLE
from ppdiffusers_ext.metrics.poses import NUM_POINTS, PARTS, SEEN, Points, PoseErrors

BODY, HANDS, FACE = PARTS.values()


def person(shift=(0, 0), missing=(), parts=("body", "hands", "face")):
    """120 pixels high, the neck 24 pixels below the nose."""
    rng = np.random.default_rng(0)
    xy = rng.uniform((40, 30), (70, 150), (NUM_POINTS, 2))
    xy[0], xy[1], xy[10] = (55, 30), (55, 54), (50, 150)
    seen = np.zeros(NUM_POINTS, bool)
    for part in parts:
        seen[PARTS[part]] = True
    seen[list(missing)] = False
    return Points(xy + shift, seen)


def errors(*frames):
    found = PoseErrors()
    for people, wanted in frames:
        found.add(people, wanted)
    return found.result()


def test_seen_is_what_skeletons_draw():
    assert SEEN == VISIBLE


def test_parts_are_all_points():
    assert sorted(i for part in PARTS.values() for i in range(part.start, part.stop)) == list(range(NUM_POINTS))


@pytest.mark.parametrize("shift, pixels", [((0, 0), 0), ((3, 4), 5), ((-6, 8), 10)])
def test_akd_is_by_how_much_joints_are_moved(shift, pixels):
    result = errors(*[([person(shift)], person())] * 3)
    for part in PARTS:
        assert result[part]["akd_pixels"] == pytest.approx(pixels, abs=1e-9)
        assert result[part]["akd_of_body"] == pytest.approx(pixels / 120, abs=1e-9)
        assert result[part]["mkr"] == 0
        assert result[part]["frames"] == {"akd_pixels": pytest.approx([pixels] * 3, abs=1e-9), "missing": [0] * 3}


def test_akd_of_frames_is_over_all_their_joints():
    result = errors(([person((10, 0), missing=range(9))], person()), ([person((1, 0))], person()))
    assert result["body"]["akd_pixels"] == pytest.approx((9 * 10 + 18 * 1) / 27)
    assert result["body"]["frames"]["akd_pixels"] == pytest.approx([10, 1])


@pytest.mark.parametrize("missing", [(), (4,), (4, 7, 10, 13)])
def test_missing_joints_are_counted(missing):
    result = errors(([person(missing=missing)], person()), ([person()], person()))
    assert result["body"]["mkr"] == pytest.approx(len(missing) / 36)
    assert result["body"]["frames"]["missing"] == [len(missing), 0]
    assert result["hands"]["mkr"] == 0
    assert result["frames_without_person"] == 0


def test_joints_that_did_not_drive_do_not_count():
    result = errors(([person((3, 4))], person(missing=(4, 7), parts=("body",))))
    assert (result["body"]["points"], result["body"]["mkr"]) == (16, 0)
    assert result["body"]["akd_pixels"] == pytest.approx(5)
    for part in ("hands", "face"):
        none = {"akd_pixels": [None], "missing": [None]}
        assert result[part] == {"akd_pixels": None, "akd_of_body": None, "mkr": None, "points": 0, "frames": none}


def test_frame_without_a_person_lacks_all_joints():
    result = errors(([], person()), ([person((3, 4))], person()))
    assert result["body"]["mkr"] == 0.5
    assert result["body"]["frames"] == {"akd_pixels": [None, pytest.approx(5)], "missing": [18, 0]}
    assert result["frames_without_person"] == 1


def test_frame_without_a_driver_does_not_count():
    nobody = replace(person(), seen=np.zeros(NUM_POINTS, bool))
    result = errors(([person()], None), ([person()], nobody), ([person((3, 4))], person()))
    assert (result["num_frames"], result["frames_with_driver"], result["frames_without_person"]) == (3, 1, 0)
    assert (result["body"]["akd_pixels"], result["body"]["mkr"]) == (pytest.approx(5), 0)


def test_nearest_of_several_people_counts():
    others = [person((60, 0)), person((3, 4)), person((-40, 0), missing=range(17))]
    assert errors((others, person()))["body"]["akd_pixels"] == pytest.approx(5)


def test_people_who_share_no_point_with_the_driver_do_not_count():
    result = errors(([person(parts=("face",))], person(parts=("body",))))
    assert result["frames_without_person"] == 1


def test_pckh_is_half_of_nose_to_neck():
    half = 12.0
    assert errors(([person((half - 0.1, 0))], person()))["pckh_0.5"] == 1
    assert errors(([person((half + 0.1, 0))], person()))["pckh_0.5"] == 0
    assert errors(([person(missing=range(9))], person()))["pckh_0.5"] == 0.5
    assert errors(([person()], person(missing=(1,))))["pckh_0.5"] is None


def test_nothing_added_is_nothing_measured():
    result = errors()
    assert (result["num_frames"], result["pckh_0.5"], result["body"]["mkr"]) == (0, None, None)


@pytest.mark.parametrize("xy, seen", [((17, 2), 17), ((NUM_POINTS, 3), NUM_POINTS), ((NUM_POINTS, 2), 18)])
def test_points_of_another_shape_are_refused(xy, seen):
    with pytest.raises(ValueError, match="have the shapes"):
        Points(np.zeros(xy), np.zeros(seen, bool))


def points(xy):
    """A person of whom the first joints are seen, at these places."""
    places, seen = np.zeros((NUM_POINTS, 2)), np.zeros(NUM_POINTS, bool)
    if xy:
        places[: len(xy)], seen[: len(xy)] = xy, True
    return Points(places, seen)


def test_points_are_scaled_then_moved():
    moved = points([(1, 2), (3, 4)]).moved(np.array([2, 3]), np.array([10, -1]))
    assert moved.xy[:2].tolist() == [[12, 5], [16, 11]] and moved.seen.sum() == 2


def test_points_in_a_picture_are_from_zero_to_less_than_its_sides():
    corners = [(0, 0), (9.9, 19.9), (10, 5), (5, 20), (-0.1, 5), (5, -0.1), (0.5, 0.5)]
    assert points(corners).inside(10, 20).seen[:7].tolist() == [True, True, False, False, False, False, True]
    assert not replace(points(corners), seen=np.zeros(NUM_POINTS, bool)).inside(10, 20).seen.any()


@pytest.mark.parametrize("xy, side", [([], 0), ([(5, 5)], 0), ([(200, 3), (210, 53)], 50), ([(200, 3), (250, 9)], 50)])
def test_longer_side_is_of_the_box_around_two_joints_or_more(xy, side):
    assert points(xy).longer_side() == side


def test_small_figures_are_measured_as_large_ones():
    small = person().moved(np.full(2, 0.005), np.zeros(2))  # 0.6 pixels high
    result = errors(([small.moved(np.ones(2), np.array([0.003, 0.004]))], small))
    assert result["pckh_0.5"] == 1 and result["body"]["akd_of_body"] == pytest.approx(0.005 / 0.6)


def test_pckh_is_over_all_frames_and_just_half_counts():
    whole = replace(person(), xy=np.round(person().xy))
    near, far = (replace(whole, xy=whole.xy + (shift, 0)) for shift in (12, 13))
    assert errors(([near], whole), ([far], whole), ([near], whole))["pckh_0.5"] == pytest.approx(2 / 3)


def test_driver_without_a_body_has_no_say_in_its_size():
    face = person(parts=("face",))
    result = errors(([person((3, 4))], face), ([person((3, 4))], person()))
    assert result["face"]["akd_of_body"] == pytest.approx(5 / 120)
    alone = errors(([person((3, 4))], face))["face"]
    assert alone["akd_pixels"] == pytest.approx(5) and alone["akd_of_body"] is None


def test_body_decides_who_is_nearest_and_else_the_rest():
    first, second = person((10, 0)), person((5, 0))
    first.xy[FACE], second.xy[FACE] = person().xy[FACE], person().xy[FACE] + 100
    result = errors(([first, second], person()))
    assert result["body"]["akd_pixels"] == pytest.approx(5)
    result = errors(([first, second], person(parts=("face",))))
    assert result["face"]["akd_pixels"] == 0


def test_first_of_two_who_are_as_near_counts():
    first, second = person(), person()
    first.xy[FACE] += 1
    assert errors(([first, second], person()))["face"]["akd_pixels"] == pytest.approx(np.sqrt(2))
