"""Drawn skeletons; that they are the originals' pixels is in tests/parity_stable_animator.py."""

from dataclasses import replace

import numpy as np
import pytest

from ppdiffusers_ext.data.skeletons import Pose, SkeletonPainter, Style
from ppdiffusers_ext.preprocess.extraction import STYLES
from tests.support.people import person, together

SMALL = Style(canvas_side=512, weighted=True)


def draw(pose, style=SMALL, height=256, width=256):
    return SkeletonPainter(height, width, style)(pose)


@pytest.mark.parametrize("name", STYLES)
@pytest.mark.parametrize("size", [(96, 64), (64, 96), (513, 257)])
def test_drawing_has_the_size_asked_for(name, size):
    picture = draw(person(), STYLES[name], *size)
    assert picture.shape == (*size, 3) and picture.dtype == np.uint8 and picture.any()


def test_nobody_is_black():
    assert not draw(Pose.empty()).any()


def test_nothing_of_earlier_frames_is_left():
    painter = SkeletonPainter(256, 200, SMALL)
    for pose in (person(0.0, 0.0, 0.9, 1.0), person(0.4, 0.5, 0.2, 0.3), Pose.empty(), person(-0.2, -0.5, 2.0, 2.0)):
        assert (painter(pose) == draw(pose, height=256, width=200)).all()


def test_joints_are_where_they_should_be():
    pose = person()
    picture = draw(replace(pose, hands_scores=pose.hands_scores * 0, face_scores=pose.face_scores * 0))
    for x, y in (pose.body[0, [9, 12]] * 256).astype(int):  # knees, which nothing else covers
        assert picture[y, x].max() > 200


def test_hands_and_face_can_be_left_out():
    pose = person()
    whole = draw(pose)
    without = {name: draw(pose, replace(SMALL, **{name: False})) for name in ("hands", "face")}
    assert all((picture != whole).any() for picture in without.values())
    hand = slice(*np.sort((pose.hands[0, 0, [0, -1], 1] * 256).astype(int)))
    assert (without["face"][hand] == whole[hand]).all()


def test_brightness_follows_scores_where_it_should():
    bright, dark = (draw(person(score=score)).astype(int).sum() for score in (0.9, 0.5))
    assert dark < 0.8 * bright
    plain = replace(SMALL, weighted=False)
    assert (draw(person(score=0.9), plain) == draw(person(score=0.5), plain)).all()


def test_what_is_not_seen_is_not_drawn():
    assert (draw(person(missing=range(18))) == draw(replace(person(), body=np.full((1, 18, 2), -1.0)))).mean() > 0.99
    unseen = replace(person(), hands_scores=np.full((1, 2, 21), 0.1), face_scores=np.full((1, 68), 0.1))
    plain = replace(SMALL, weighted=False)
    assert (draw(unseen, plain) == draw(person(), replace(plain, hands=False, face=False))).all()


def test_people_far_outside_do_no_harm():
    assert not draw(person(left=5.0, top=5.0)).any()
    assert not draw(person(left=-5.0, top=-5.0)).any()


def test_several_people_are_drawn():
    one, other = person(0.0, width=0.3), person(0.6, width=0.3)
    assert (draw(together(one, other)) == np.maximum(draw(one), draw(other))).all()
