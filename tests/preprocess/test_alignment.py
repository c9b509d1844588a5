"""Alignment of driven poses with the body of the reference picture."""

import numpy as np
import pytest

from ppdiffusers_ext.data.skeletons import Pose
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.preprocess.alignment import fit, fit_original
from tests.support.people import person, together

SQUARE = (512, 512)
WRISTS, LEGS = (4, 7), (8, 9, 10, 11, 12, 13)


def moving(count=12, width=0.3, height=0.5, **options):
    """Frames of a person who walks from left to right and waves."""
    frames = []
    for i in range(count):
        pose = person(left=0.05 + 0.5 * i / count, top=0.3, width=width, height=height, **options)
        pose.body[:, WRISTS] += 0.03 * np.sin(i)
        frames.append(pose)
    return frames


def test_aligned_body_has_the_size_and_the_place_of_the_references():
    reference, driven = person(left=0.2, top=0.05, width=0.54, height=0.9), moving()
    aligned = [fit(reference, driven, SQUARE, SQUARE)(pose) for pose in driven]
    hips = np.stack([pose.body[0, [8, 11]] for pose in aligned])
    assert np.ptp(hips[:, 0, 0]) > 0.5  # the walk stays, larger than before
    assert np.median(hips[:, 0, 1]) == pytest.approx(reference.body[0, 8, 1], abs=0.01)
    shoulders = aligned[0].body[0, 2] - aligned[0].body[0, 5]
    assert shoulders == pytest.approx(reference.body[0, 2] - reference.body[0, 5], abs=1e-6)


def test_same_person_at_the_same_place_stays():
    pose = person()
    alignment = fit(pose, [pose] * 3, SQUARE, SQUARE)
    assert alignment.scale == pytest.approx([1, 1]) and alignment.offset == pytest.approx([0, 0], abs=1e-9)


@pytest.mark.parametrize("sizes", [((640, 360), (360, 640)), ((360, 640), (640, 360)), ((512, 512), (300, 900))])
def test_shape_of_the_figure_is_kept_between_pictures_of_other_aspect_ratios(sizes):
    reference_size, driven_size = sizes
    driven = [person(width=0.3, height=0.3 * 1.5 * driven_size[1] / driven_size[0])] * 3
    reference = person(width=0.4, height=0.4 * 1.5 * reference_size[1] / reference_size[0])
    aligned = fit(reference, driven, reference_size, driven_size)(driven[0])
    pixels = np.array([reference_size[1], reference_size[0]])
    assert aligned.body[0] * pixels == pytest.approx(reference.body[0] * pixels, abs=1e-6)
    # The original's bends it: it takes one factor for both fractions.
    bent = fit_original(reference, driven)(driven[0])
    assert np.abs(bent.body[0] * pixels - reference.body[0] * pixels).max() > 10


def test_bent_limbs_do_not_make_the_figure_larger():
    reference, driven = person(left=0.2, width=0.6), moving(20, width=0.6, height=0.8)
    for pose in driven[::2]:  # arms and legs that point at the camera
        pose.body[0, [3, 4, 6, 7, 9, 10, 12, 13]] = pose.body[0, [2, 2, 5, 5, 8, 8, 11, 11]] + 0.02
    assert fit(reference, driven, SQUARE, SQUARE).scale == pytest.approx([1, 1], abs=0.02)


@pytest.mark.parametrize("count, factor", [(16, 0.5), (1, 2.0)])
def test_size_is_told_by_limbs_at_their_longest_but_not_by_a_single_frame(count, factor):
    """Of 20 frames, 16 where all limbs point at the camera, or one where they are found twice as long."""
    driven = [person() for _ in range(20)]
    for pose in driven[:count]:
        pose.body[:] = 0.5 + factor * (pose.body - 0.5)
    assert fit(person(), driven, SQUARE, SQUARE).scale == pytest.approx([1, 1])


def test_size_is_that_of_limbs_and_the_place_that_of_head_and_trunk_however_the_rest_is_bent():
    reference, bent = person(), person()
    for root, joints in ((2, (3, 4)), (5, (6, 7)), (8, (9, 10)), (11, (12, 13))):  # arms and legs turn by 90 degrees
        bent.body[0, joints] = bent.body[0, root] + (bent.body[0, joints] - bent.body[0, root])[:, ::-1] * [1, -1]
    bent.body[0, 14:] += [0.4, 0.2]  # eyes and ears
    alignment = fit(reference, [bent], SQUARE, SQUARE)
    assert alignment.scale == pytest.approx([1, 1]) and alignment.offset == pytest.approx([0, 0], abs=1e-9)


def test_sizes_may_be_in_any_unit():
    reference, driven = person(left=0.2, width=0.54), moving()
    in_pixels, in_halves = (fit(reference, driven, (side, side), (side, side)) for side in (512, 0.5))
    assert in_halves.scale == pytest.approx(in_pixels.scale)


def test_two_joints_in_common_are_enough():
    shoulders = person(width=0.8, missing=[joint for joint in range(18) if joint not in (2, 5)])
    aligned = fit(shoulders, [person(width=0.4)], SQUARE, SQUARE)(person(width=0.4))
    assert aligned.body[0, [2, 5]] == pytest.approx(shoulders.body[0, [2, 5]])


def test_length_of_a_limb_comes_from_frames_that_show_both_its_ends():
    left, right, whole = (person() for _ in range(3))
    for pose, joint in ((left, 2), (right, 5)):
        pose.body_scores[0, joint] = 0.0
        pose.body[0, joint] = 100
    only_shoulders = person(missing=[joint for joint in range(18) if joint not in (2, 5)])
    assert fit(only_shoulders, [left, whole, right], SQUARE, SQUARE).scale == pytest.approx([1, 1])
    with pytest.raises(InputError, match="^no limb is seen both"):
        fit(only_shoulders, [left, right], SQUARE, SQUARE)


def test_original_aligns_what_differs_by_one_factor_and_a_shift():
    driven = person(width=0.3, height=0.5)
    reference = person(missing=[9])
    reference.body[:] = 1.5 * driven.body + [0.1, -0.2]
    alignment = fit_original(reference, [driven])
    assert alignment(driven).body[0] == pytest.approx(reference.body[0])
    assert alignment.missing == ("r_knee",)


def test_jumping_does_not_make_the_figure_smaller():
    reference, driven = person(left=0.2, width=0.6), moving(20, width=0.6, height=0.8)
    for i, pose in enumerate(driven):
        pose.body[..., 1] += 0.3 * np.sin(i)
    assert fit(reference, driven, SQUARE, SQUARE).scale == pytest.approx([1, 1], abs=0.02)
    assert fit_original(reference, driven).scale[0] < 0.8


def test_joints_that_are_not_seen_have_no_say():
    reference, driven = person(missing=LEGS), moving()
    expected = fit(reference, driven, SQUARE, SQUARE)
    reference.body[0, LEGS] = -5
    for pose in driven:
        pose.body_scores[0, 16] = 0.0
        pose.body[0, 16] = 100
    alignment = fit(reference, driven, SQUARE, SQUARE)
    assert alignment.scale == pytest.approx(expected.scale, rel=0.02)
    assert alignment.missing == tuple(f"{side}_{joint}" for side in "rl" for joint in ("hip", "knee", "ankle"))


def test_head_alone_is_enough():
    head = [0, 14, 15, 16, 17]
    reference = person(width=0.8, height=1.6, missing=[i for i in range(18) if i not in head])
    driven = [person()] * 2
    aligned = fit(reference, driven, SQUARE, SQUARE)(driven[0])
    assert aligned.body[0, head, 1] == pytest.approx(reference.body[0, head, 1], abs=0.02)


def test_frames_without_a_person_are_passed_over():
    reference, driven = person(), moving()
    expected = fit(reference, driven, SQUARE, SQUARE)
    alignment = fit(reference, [Pose.empty(), *driven, Pose.empty()], SQUARE, SQUARE)
    assert alignment.scale == pytest.approx(expected.scale) and alignment.offset == pytest.approx(expected.offset)


def test_original_counts_frames_of_exactly_one_person():
    reference, driven = person(), moving()
    expected = fit_original(reference, driven)
    crowd = together(person(left=0.0), person(left=0.5))
    assert fit_original(reference, [*driven, crowd]).scale == pytest.approx(expected.scale)


@pytest.mark.parametrize(
    "function", [fit_original, lambda *poses: fit(*poses, SQUARE, SQUARE)], ids=["original", "ours"]
)
def test_nobody_is_told(function):
    with pytest.raises(InputError, match="^nobody is found in the reference picture; .* is accepted$"):
        function(Pose.empty(), moving())
    with pytest.raises(InputError, match="nobody is found in the reference picture"):
        function(person(score=0.2), moving())
    for_skeletons = "a video of a person is accepted, and by scripts.pose2vid .* one of skeletons$"
    with pytest.raises(InputError, match=f"^no frame of the driving video shows one person; {for_skeletons}"):
        function(person(), [Pose.empty()] * 3)


def test_nothing_in_common_is_told():
    accepted = "; a picture and a video that show the same part of the body, or no alignment .*, are accepted$"
    with pytest.raises(
        InputError, match=f"^the reference .* have fewer than 2 joints of the body in common{accepted}"
    ):
        fit(person(missing=range(1, 18)), moving(), SQUARE, SQUARE)
    at_one_point = person()
    at_one_point.body[:] = 0.5
    for reference, driven in ((at_one_point, person()), (person(), at_one_point)):
        with pytest.raises(InputError, match=f"^no limb is seen both in the reference .* driving video{accepted}"):
            fit(reference, [driven], SQUARE, SQUARE)
