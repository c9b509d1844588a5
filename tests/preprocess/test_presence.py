"""Who counts as a person, and how much of one is seen."""

import numpy as np
import pytest

from ppdiffusers_ext.preprocess.blaze.body import Body
from ppdiffusers_ext.preprocess.blaze.face import Face
from ppdiffusers_ext.preprocess.blaze.people import Person
from ppdiffusers_ext.preprocess.blaze.regions import Region
from ppdiffusers_ext.preprocess.presence import Presence, presence_of

REGION = Region(np.array([50.0, 50.0]), 40.0, np.array([0.0, -1.0]))
HEIGHT, WIDTH = 100, 200


def body(left=20.0, top=10.0, right=60.0, bottom=90.0, presence=0.995, hidden=()):
    """A body whose 33 points lie on the diagonal of a box; the hidden ones are not seen."""
    points = np.linspace((left, top), (right, bottom), 33)
    visibility = np.full(33, 0.9)
    visibility[list(hidden)] = 0.2
    return Body(points, visibility, presence, REGION)


def face(left=20.0, top=10.0, right=40.0, bottom=30.0):
    return Face(np.linspace((left, top), (right, bottom), 468), 0.99)


def person(a_body=None, a_face=None):
    return Person(a_body, REGION, a_body is None, face=a_face)


def look(*people):
    return presence_of(people, HEIGHT, WIDTH)


def test_nobody():
    assert look() == Presence(0, 0.0, 0.0)


def test_whole_body_needs_no_face():
    found = look(person(body()))
    assert found == Presence(1, 1.0, pytest.approx(40 * 80 / (HEIGHT * WIDTH)))


@pytest.mark.parametrize("blot", [body(presence=0.985), body(hidden=range(23, 33)), body(left=-100.0)])
def test_unsure_or_partial_body_without_a_face_is_nobody(blot):
    assert look(person(blot)).count == 0


def test_face_makes_a_part_of_a_body_a_person():
    found = look(person(body(hidden=range(23, 33)), face()))
    assert (found.count, found.visibility) == (1, pytest.approx(7 / 13))


def test_head_alone_is_a_person_of_whom_one_point_is_seen():
    assert look(person(None, face())) == Presence(1, pytest.approx(1 / 13), pytest.approx(0.02))


def test_largest_person_is_measured_and_only_within_the_picture():
    found = look(person(None, face()), person(body(0, -10, 200, 110), face()))
    assert found.count == 2
    assert 0.75 < found.share <= 1.0


def test_part_of_a_face_that_is_outside_of_the_picture_does_not_count():
    assert look(person(None, face(left=-20.0))).share == pytest.approx(40 * 20 / (HEIGHT * WIDTH))
