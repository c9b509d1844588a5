"""Windows of StableAnimator: what they cover, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.pipelines.stable_animator.time_tiles import tile_weights, time_tiles


@st.composite
def settings(draw):
    size = draw(st.integers(2, 20))
    return draw(st.integers(1, 80)), size, draw(st.integers(0, size - 1))


@given(settings())
def test_every_frame_is_in_a_window_and_every_window_begins_with_the_first(of_clip):
    num_frames, size, overlap = of_clip
    windows = time_tiles(*of_clip)
    assert {frame for window in windows for frame in window} == set(range(num_frames))
    for window in windows:
        assert len(window) == min(size, num_frames) == len(set(window))
        assert window[0] == 0 and window[1:] == list(range(window[-1] - len(window) + 2, window[-1] + 1))


@pytest.mark.parametrize("of_clip", [(0, 4, 1), (9, 1, 0), (9, 4, 4), (9, 4, 9), (9, 4, -1)])
def test_impossible_numbers_are_refused(of_clip):
    with pytest.raises(InputError, match="cannot be cut into tiles of .* are accepted"):
        time_tiles(*of_clip)


def test_clip_that_is_shorter_than_a_tile_is_one_window():
    assert time_tiles(8, 16, 4) == [[0, 1, 2, 3, 4, 5, 6, 7]]


@given(st.integers(1, 40))
def test_weights_are_positive_and_the_same_from_both_ends(size):
    weights = tile_weights(size)
    assert (weights > 0).all() and weights == pytest.approx(weights[::-1], abs=1e-6)


def test_windows_begin_an_overlap_before_the_end_of_the_one_before():
    assert time_tiles(10, 4, 1) == [[0, 1, 2, 3], [0, 4, 5, 6], [0, 7, 8, 9]]
    assert time_tiles(9, 4, 2) == [[0, 1, 2, 3], [0, 3, 4, 5], [0, 5, 6, 7], [0, 6, 7, 8]]
    assert time_tiles(10, 4, 0) == time_tiles(10, 4, 1)  # no frame is left out


def test_windows_without_the_first_frame_are_of_frames_in_a_row():
    assert time_tiles(8, 4, 0, anchored=False) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert time_tiles(9, 4, 2, anchored=False) == [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7], [5, 6, 7, 8]]


def test_clip_of_just_a_tile_is_one_window():
    assert time_tiles(4, 4, 1) == [[0, 1, 2, 3]]


def test_weights_rise_linearly_to_the_middle():
    weights = tile_weights(4)
    assert weights.tolist() == [0.25, 0.75, 0.75, 0.25] and weights.dtype == np.float32
