"""Boxes of faces: from masks, and from the dots of skeletons that DWPose draws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppdiffusers_ext.data.images import write_image
from ppdiffusers_ext.data.skeletons import Pose, SkeletonPainter
from ppdiffusers_ext.data.stable_animator.face_boxes import box_of_dots, box_of_mask, read_mask
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.preprocess.extraction import STYLES


@given(st.data())
def test_box_of_a_mask_is_what_was_drawn(data):
    height, width = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    bottom, right = data.draw(st.integers(top, height - 1)), data.draw(st.integers(left, width - 1))
    mask = np.zeros((height, width), np.uint8)
    assert box_of_mask(mask) is None
    mask[top : bottom + 1, left : right + 1] = 255
    assert box_of_mask(mask) == (top, bottom, left, right)


def test_mask_is_white_in_all_channels(tmp_path):
    mask = np.zeros((20, 30, 3), np.uint8)
    mask[2:5, 3:9] = 255
    mask[10, 10, 0] = 255
    write_image(tmp_path / "mask.png", mask)
    assert box_of_mask(read_mask(tmp_path / "mask.png", (20, 30))) == (2, 4, 3, 8)
    with pytest.raises(InputError, match="mask .*mask.png is 30x20; 20x30, as what it masks, is needed"):
        read_mask(tmp_path / "mask.png", (30, 20))


@pytest.fixture(scope="module")
def skeleton():
    """A person of 256x512 whose face has dots within 0.4 to 0.6 of the width and 0.1 to 0.2 of the height."""
    random = np.random.default_rng(3)
    body = np.stack([random.uniform(0.2, 0.8, 18), random.uniform(0.25, 0.9, 18)], axis=1)[None]
    face = np.stack([random.uniform(0.4, 0.6, 68), random.uniform(0.1, 0.2, 68)], axis=1)[None]
    face[0, :2] = (0.4, 0.1), (0.6, 0.2)
    hands = np.stack([random.uniform(0.1, 0.9, (2, 21)), random.uniform(0.5, 0.9, (2, 21))], axis=2)[None]
    pose = Pose(body, np.ones((1, 18)), hands, np.ones((1, 2, 21)), face, np.ones((1, 68)))
    return SkeletonPainter(512, 256, STYLES["stable_animator"])(pose)


@pytest.mark.parametrize("size", [(512, 256), (512, 512), (1024, 576)])
def test_face_is_found_by_its_dots(skeleton, size):
    height, width = size
    top, bottom, left, right = box_of_dots(skeleton, height, width)
    slack = 0.012  # a dot's radius
    assert [top / height, bottom / height] == pytest.approx([0.1, 0.2], abs=slack)
    assert [left / width, right / width] == pytest.approx([0.4, 0.6], abs=slack)


def test_skeleton_without_a_face_has_no_box(skeleton):
    without = skeleton.copy()
    without[40:120, 90:170] = 0
    assert box_of_dots(without, 512, 512) is None
    assert box_of_dots(np.zeros((64, 64, 3), np.uint8), 512, 512) is None
