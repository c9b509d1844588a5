"""Buckets of sizes: what the original's tables leave open. Its numbers are compared by tests.parity."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ppdiffusers_ext.data.easy_animate.buckets import (
    Bucket,
    find_bucket,
    frames_of_sizes,
    nearest_ratio,
    round_frames,
    split_long,
)


@given(st.integers(16, 4000), st.integers(16, 4000), st.sampled_from([256, 512, 768, 960, 1024]))
def test_bucket_is_of_whole_tokens_and_covered_by_what_is_cut(height, width, base):
    bucket = find_bucket(height, width, base)
    assert all(side > 0 and side % 16 == 0 for side in bucket.size)
    assert 0.5 * base**2 < bucket.size[0] * bucket.size[1] < 1.2 * base**2
    cover = bucket.cover(height, width)
    assert all(side >= needed for side, needed in zip(cover, bucket.size))


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


@pytest.mark.parametrize("count, rounded", [(1, 1), (3, 0), (7, 4), (12, 12)])
def test_frames_are_one_or_multiples(count, rounded):
    assert round_frames(count, 4) == rounded


@pytest.mark.parametrize(
    "picture, base, ratio, exact, size",
    [
        ((512, 512), 512, 1.0, (512, 512), (512, 512)),
        ((1080, 1920), 768, 0.57, (576, 1008), (576, 1008)),
        ((1920, 1080), 500, 1.75, (656.25, 375), (656, 368)),
        ((1, 9), 1024, 0.25, (512, 2048), (512, 2048)),
    ],
)
def test_bucket_is_the_nearest_shape_of_the_table_in_whole_multiples(picture, base, ratio, exact, size):
    assert find_bucket(*picture, base) == Bucket(ratio, exact, size)


def test_bucket_may_be_of_another_table():
    assert find_bucket(100, 300, 256, {0.5: (362, 724), 1.0: (512, 512)}) == Bucket(0.5, (181, 362), (176, 352))
    assert nearest_ratio(100, 130, (0.5, 0.75, 1.0)) == 0.75


@pytest.mark.parametrize(
    "picture, cover", [((1080, 1920), (576, 1024)), ((1200, 1920), (630, 1008)), ((1152, 2016), (576, 1008))]
)
def test_picture_is_resized_by_the_side_that_needs_more(picture, cover):
    assert Bucket(0.57, (576, 1008), (576, 1008)).cover(*picture) == cover


@pytest.mark.parametrize(
    "arguments, parts",
    [
        ((144, 72, 8), [(0, 72), (64, 72), (128, 16)]),
        ((72, 72, 8), [(0, 72)]),  # with no part for the frames that are shared
        ((50, 72, 8), [(0, 48)]),
        ((10, 8, 0, 4), [(0, 8)]),
        ((13, 8, 0, 4), [(0, 8), (8, 4)]),
        ((5, 72, 8), []),
    ],
)
def test_parts_share_frames_and_the_last_is_a_multiple(arguments, parts):
    assert split_long(*arguments) == parts


@pytest.mark.parametrize(
    "arguments, frames",
    [
        ((1024, 512, 512, 144), {512: 144, 640: 88, 768: 64, 896: 40, 1024: 32}),
        ((700, 512, 768, 48), {512: 48, 640: 48, 700: 48}),
        ((512, 512, 512, 50), {512: 48}),
        ((640, 512, 512, 49, 7), {512: 49, 640: 28}),
    ],
)
def test_larger_sizes_have_fewer_frames_in_as_many_tokens(arguments, frames):
    assert frames_of_sizes(*arguments) == frames
