"""Alignment of faces to ArcFace's template, and the cosine of embeddings."""

import numpy as np
import pytest

from ppdiffusers_ext.metrics.identity import TEMPLATE, align_face, csim, five_points, similarity_transform


def moved(points, angle=0.3, scale=2.5, shift=(40, -7)):
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return scale * points @ turn.T + shift


def face_with(five):
    """68 points of which the five are means and points of, all others far away."""
    face = np.full((68, 2), -1000.0)
    around = np.array([(-2, 0), (2, 0), (0, -1), (0, 1), (-1, 0), (1, 0)])
    face[36:42], face[42:48] = five[0] + around, five[1] + around
    face[30], face[48], face[54] = five[2:]
    return face


@pytest.mark.parametrize("angle", [0.0, 0.3, -2.0, np.pi])
@pytest.mark.parametrize("scale", [0.2, 1.0, 7.0])
def test_similar_points_are_moved_onto_each_other(angle, scale):
    source = moved(TEMPLATE, angle, scale)
    matrix = similarity_transform(source, TEMPLATE)
    assert source @ matrix[:, :2].T + matrix[:, 2] == pytest.approx(TEMPLATE, abs=1e-8)


def test_mirrored_points_are_not_mirrored_back():
    matrix = similarity_transform(TEMPLATE * (-1, 1), TEMPLATE)
    assert np.linalg.det(matrix[:, :2]) > 0


def test_points_without_extent_are_refused():
    with pytest.raises(ValueError, match="5 points are the same"):
        similarity_transform(np.ones((5, 2)), TEMPLATE)


def test_five_points_are_eyes_nose_and_corners_of_the_mouth():
    assert five_points(face_with(TEMPLATE)) == pytest.approx(TEMPLATE)


def test_face_lies_where_the_template_has_it():
    places = moved(TEMPLATE, 0.5, 2.0, (150, 60))
    frame = np.zeros((400, 400, 3), np.uint8)
    for number, (x, y) in enumerate(places):
        frame[round(y) - 5 : round(y) + 6, round(x) - 5 : round(x) + 6] = 51 * (number + 1)
    crop = align_face(frame, places)
    assert crop.shape == (112, 112, 3)
    assert [int(crop[round(y), round(x), 0]) for x, y in TEMPLATE] == [51, 102, 153, 204, 255]


@pytest.mark.parametrize("other, expected", [((2, 0), 1.0), ((0, 3), 0.0), ((-1, 0), -1.0), ((1, 1), 0.5**0.5)])
def test_csim_is_the_cosine(other, expected):
    assert csim(np.array([5.0, 0.0]), np.array(other, float)) == pytest.approx(expected)


@pytest.mark.parametrize("other", [(0.0, 0.0), (np.nan, 1.0), (np.inf, 1.0)])
def test_csim_of_no_direction_is_none(other):
    assert csim(np.array([5.0, 0.0]), np.array(other)) is None
