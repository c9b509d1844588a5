"""Boxes of faces, for masks."""

import numpy as np
import pytest

from ppdiffusers_ext.preprocess.blaze.face_boxes import FaceBoxes
from tests.preprocess.blaze.test_face_finder import FACES
from tests.support.real_people import cartoon, group, picture, sample


def test_boxes_are_around_the_faces_of_a_group_the_largest_first(networks):
    boxes = FaceBoxes(networks).find(group())
    assert len(boxes) == 6
    areas = [np.prod(box[2:] - box[:2]) for box in boxes]
    assert areas == sorted(areas, reverse=True)
    for middle in FACES:
        assert sum((box[:2] < middle).all() and (middle < box[2:]).all() for box in boxes) == 1


def test_cartoon_has_one_face(networks):
    (box,) = FaceBoxes(networks).find(cartoon())
    assert (box[:2] < (88, 62)).all() and (box[2:] > (90, 64)).all() and (box[2:] - box[:2] < 45).all()


@pytest.mark.parametrize("value", [0, 128, 255])
def test_plain_picture_has_no_face(networks, value):
    assert FaceBoxes(networks).find(np.full((200, 300, 3), value, np.uint8)) == []


def test_mesh_refuses_what_the_detector_takes_for_a_face(networks):
    finder = FaceBoxes(networks)
    frame = picture(sample("reference_images/iron_man.png"))
    assert finder._find(frame) and finder.find(frame) == []
