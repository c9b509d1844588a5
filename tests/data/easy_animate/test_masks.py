"""Random masks: what the original's numbers leave open. Its masks are compared by tests.parity."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppdiffusers_ext.data.easy_animate.masks import (
    OF_PICTURES,
    OF_VIDEOS,
    make_mask,
    random_mask,
    shares_of_clip_frames,
)


@given(
    st.integers(0, 2**32), st.integers(1, 30), st.integers(1, 24), st.integers(1, 24), st.sampled_from(list(OF_VIDEOS))
)
def test_mask_of_any_size_leaves_something_to_generate(seed, num_frames, height, width, kinds):
    if height >= 8 and width >= 8:
        mask = random_mask(np.random.default_rng(seed), num_frames, height, width, kinds)
        assert mask.shape == (num_frames, 1, height, width) and mask.dtype == np.uint8
        assert mask.any() and set(np.unique(mask)) <= {0, 1}


@pytest.mark.parametrize("kinds", OF_VIDEOS)
def test_mask_that_would_come_out_empty_is_one_of_everything(kinds):
    """Of two frames, both ends are all; single frames may all be kept, and boxes may have no pixel."""
    masks = [random_mask(np.random.default_rng(seed), 2, 8, 8, kinds) for seed in range(300)]
    assert all(mask.any() for mask in masks)


@pytest.mark.parametrize("kind", [2, 3])
@pytest.mark.parametrize("num_frames", range(3, 12))
def test_frames_that_are_kept_leave_some_in_a_short_clip(kind, num_frames):
    for seed in range(30):
        generated = make_mask(np.random.default_rng(seed), kind, num_frames, 8, 8).all(axis=(1, 2, 3))
        assert generated.any() and not generated[0] and generated[-1] == (kind == 2)


@pytest.mark.parametrize("kinds", OF_VIDEOS)
@pytest.mark.parametrize("table", [OF_VIDEOS, OF_PICTURES])
def test_kinds_come_as_often_as_the_table_says(kinds, table):
    """A generator that records what it is asked for."""

    class Recorder:
        def choice(self, count, p):
            self.asked = count, p
            return 1

    recorder = Recorder()
    random_mask(recorder, 8 if table is OF_VIDEOS else 1, 8, 8, kinds)
    count, shares = recorder.asked
    assert shares == table[kinds] and count == len(shares) and sum(shares) == pytest.approx(1)


@pytest.mark.parametrize(("kinds", "first"), [("v3", 0.25), ("v4", 0.5), ("all", 0.5)])
def test_clip_sees_the_first_frame_in_half_of_the_samples(kinds, first):
    shares = shares_of_clip_frames(4, kinds)
    assert shares[0] == first and shares.sum() == pytest.approx(1) and len(set(shares[1:])) == 1
    assert shares_of_clip_frames(1, kinds).tolist() == [1.0]
