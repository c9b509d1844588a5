"""Buckets of sizes: what the original's tables leave open. Its numbers are compared by tests.parity."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ppdiffusers_ext.data.easy_animate.buckets import find_bucket, round_frames, split_long


@given(st.integers(16, 4000), st.integers(16, 4000), st.sampled_from([256, 512, 768, 960, 1024]))
def test_bucket_is_of_whole_tokens_and_covered_by_what_is_cut(height, width, base):
    bucket = find_bucket(height, width, base)
    assert all(side > 0 and side % 16 == 0 for side in bucket.size)
    assert 0.5 * base**2 < bucket.size[0] * bucket.size[1] < 1.2 * base**2
    cover = bucket.cover(height, width)
    assert all(side >= needed - 1 for side, needed in zip(cover, bucket.size))


@given(st.integers(9, 400), st.integers(2, 18), st.integers(0, 8))
@example(count=17, eighths=2, overlap=0)  # one frame is left over, which is no video
def test_parts_of_a_long_video_follow_each_other(count, eighths, overlap):
    length = 8 * eighths
    parts = split_long(count, length, overlap)
    assert parts[0][0] == 0
    for (start, frames), (following, _) in zip(parts, parts[1:]):
        assert following == start + frames - overlap
    assert all(frames % 8 == 0 and 0 < frames <= length for _, frames in parts)
    start, frames = parts[-1]
    assert start + frames <= count


@pytest.mark.parametrize("count, rounded", [(1, 1), (7, 0), (8, 8), (143, 136), (144, 144)])
def test_frames_are_one_or_eights(count, rounded):
    assert round_frames(count) == rounded
