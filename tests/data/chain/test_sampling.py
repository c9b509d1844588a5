"""Which frames are looked at, and in which size."""

import numpy as np
import pytest

from ppdiffusers_ext.data.chain.sampling import grey_of, middles, resized


@pytest.mark.parametrize(
    ("num_frames", "count", "indices"), [(100, 4, [12, 37, 62, 87]), (3, 5, [0, 1, 2]), (1, 5, [0]), (7, 1, [3])]
)
def test_frames_in_the_middle_of_equal_parts_are_chosen(num_frames, count, indices):
    assert middles(num_frames, count) == indices


@pytest.mark.parametrize(
    ("size", "result"),
    [((200, 400), (100, 200)), ((50, 25), (200, 100)), ((90, 100), (100, 111)), ((1, 5000), (1, 800))],
)
def test_frame_is_resized_to_its_shorter_side_unless_it_is_a_strip(size, result):
    assert resized(np.zeros((*size, 3), np.uint8), 100).shape[:2] == result


def test_frame_of_the_size_stays_as_it_is():
    frame = np.zeros((100, 140, 3), np.uint8)
    assert resized(frame, 100) is frame and resized(frame, None) is frame


def test_grey_weighs_colours_as_luma_does():
    frame = np.zeros((4, 4, 3), np.uint8)
    frame[0, 0], frame[0, 1], frame[0, 2] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    assert grey_of(frame)[0, :3].tolist() == [76, 150, 29]
