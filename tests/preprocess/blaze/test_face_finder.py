"""Small and large faces of a picture."""

import numpy as np
import pytest

from ppdiffusers_ext.preprocess.blaze.detector import Detection
from ppdiffusers_ext.preprocess.blaze.face_finder import FaceFinder, is_same, tiles
from tests.support.real_people import group

# The middles of the six faces, by eye.
FACES = np.array([[115, 345], [313, 225], [517, 352], [783, 425], [940, 140], [1178, 345]])


@pytest.mark.parametrize("size", [(100, 100), (1080, 1920), (1920, 1080), (60, 640), (300, 200)])
def test_tiles_cover_a_frame_and_overlap(size):
    regions = tiles(np.zeros((*size, 3), np.uint8))
    seen = np.zeros(size, int)
    for region in regions:
        left, top = np.maximum(0, np.floor(region.center - region.size / 2)).astype(int)
        right, bottom = np.ceil(region.center + region.size / 2).astype(int)
        seen[top:bottom, left:right] += 1
    assert seen.min() >= 1 and len(regions) <= 9
    assert seen[size[0] // 2, size[1] // 2] >= 2


@pytest.mark.parametrize("is_mirrored", [False, True])
def test_all_faces_of_a_group_are_found_once(networks, is_mirrored):
    picture = group()
    expected = FACES if not is_mirrored else np.abs([picture.shape[1], 0] - FACES)
    picture = np.ascontiguousarray(picture[:, ::-1]) if is_mirrored else picture
    found = FaceFinder(networks.face_detector)(picture)
    middles = np.array([(face.box[:2] + face.box[2:]) / 2 for face in found])
    nearest = np.linalg.norm(middles[:, None] - expected[None], axis=-1)
    assert len(found) == 6 and sorted(nearest.argmin(axis=1)) == list(range(6)) and nearest.min(axis=1).max() < 50


def face(left, top, right, bottom):
    return Detection(0.9, np.array([left, top, right, bottom], float), np.zeros((6, 2)))


@pytest.mark.parametrize(
    "box, expected", [((12, 10, 32, 30), True), ((10, 10, 20, 30), True), ((30, 10, 50, 30), False)]
)
def test_box_that_a_tile_cut_off_is_of_the_same_face(box, expected):
    assert is_same(face(10, 10, 30, 30), face(*box)) == expected
