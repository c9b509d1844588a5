"""Frames of a sample: what the original's rows leave open. Its rows are compared by tests.parity."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ppdiffusers_ext.data.easy_animate.frame_choice import check_length, choose_frames, shrink_size
from ppdiffusers_ext.data.easy_animate.settings import SampleSettings
from ppdiffusers_ext.errors import InputError


@given(st.integers(2, 2000), st.integers(1, 200), st.integers(1, 8), st.booleans(), st.integers(0, 99))
@example(num_frames=240, most=100, stride=2, keeps_stride=False, seed=0)  # where the original draws from nothing
def test_frames_are_apart_and_within_the_file(num_frames, most, stride, keeps_stride, seed):
    try:
        chosen = choose_frames(np.random.default_rng(seed), num_frames, most, stride, keeps_stride)
    except InputError:
        assert num_frames * 0.8 < stride
        return
    assert 1 <= len(chosen) <= most
    assert chosen[0] >= 0 and chosen[-1] < num_frames * 0.9
    assert (np.diff(chosen) >= 1).all() and (np.diff(chosen) <= stride).all()
    if keeps_stride:
        assert (np.diff(chosen) == stride).all()


def test_samples_of_a_file_begin_at_different_places():
    starts = {int(choose_frames(np.random.default_rng(seed), 100, 16)[0]) for seed in range(300)}
    assert min(starts) == int(0.1 * 90) and max(starts) == 90 - 16 and len(starts) > 50


@pytest.mark.parametrize(
    ("num_frames", "most", "multiple", "is_refused"),
    [(9, 16, 8, True), (10, 16, 8, False), (11, 17, 9, True), (2, 4, 8, False), (1, 4, 8, True), (2, 1, 8, False)],
)
def test_video_that_is_shorter_than_what_is_encoded_at_once_is_refused(num_frames, most, multiple, is_refused):
    settings = SampleSettings(video_sample_n_frames=most, video_sample_stride=1, frames_multiple=multiple)
    if is_refused:
        with pytest.raises(InputError, match=f"it has {num_frames} frames?, of which a sample can have"):
            check_length(num_frames, settings)
    else:
        check_length(num_frames, settings)


@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(16, 1024))
def test_frames_are_shrunk_and_never_enlarged(height, width, side):
    shrunk = shrink_size(height, width, side)
    assert min(shrunk) == min(height, width, side)
    assert shrunk[0] <= height and shrunk[1] <= width
