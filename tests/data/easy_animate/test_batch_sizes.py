"""Sizes of batches: what the original's cases leave open. Its cases are compared by tests.parity."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppdiffusers_ext.data.easy_animate.batch_sizes import (
    adapted_divisors,
    count_repeats,
    cut_lengths,
    draw_batch_size,
    token_counts,
)
from ppdiffusers_ext.data.easy_animate.buckets import SHAPES
from ppdiffusers_ext.data.easy_animate.settings import SampleSettings

SIZES = st.sampled_from([64, 256, 512, 768, 1024])
SETTINGS = st.builds(
    SampleSettings,
    video_sample_size=SIZES,
    image_sample_size=SIZES,
    token_sample_size=SIZES,
    video_sample_n_frames=st.sampled_from([1, 8, 17, 144]),
    frames_multiple=st.sampled_from([4, 8, 9]),
    **{
        name: st.booleans()
        for name in (
            "enable_bucket", "random_hw_adapt", "random_ratio_crop", "random_frame_crop",
            "training_with_video_token_length", "keep_all_node_same_token_length",
        )
    },
)  # fmt: skip


def draw(settings, is_video=True, ratio=1.0, side=4000.0, seed=0, step=0):
    rngs = (np.random.default_rng([7, number]) for number in (seed, step))
    return draw_batch_size(*rngs, settings, is_video, ratio, side)


@given(SETTINGS, st.booleans(), st.sampled_from(list(SHAPES)), st.floats(1, 4000), st.integers(0, 99))
def test_size_is_of_whole_tokens_and_of_at_least_one_frame(settings, is_video, ratio, side, seed):
    drawn = draw(settings, is_video, ratio, side, seed)
    assert all(length > 0 and length % 16 == 0 for length in drawn.bucket.size)
    assert 1 <= drawn.cut_frames <= drawn.max_frames
    if not is_video:
        assert drawn.max_frames == 1
    if not settings.enable_bucket:
        base = settings.video_sample_size if is_video else settings.image_sample_size
        assert drawn.bucket.size == (base, base)


@given(st.integers(0, 999), st.sampled_from([256, 384, 512]), st.integers(0, 2))
def test_batches_of_a_step_have_at_most_the_same_tokens(step, size, cut):
    settings = SampleSettings(
        enable_bucket=True, video_sample_size=size, token_sample_size=512, video_sample_n_frames=48,
        keep_all_node_same_token_length=True, random_frame_crop=cut == 0,
    )  # fmt: skip
    of_step = [draw(settings, ratio=ratio, seed=seed, step=step) for seed, ratio in enumerate((0.57, 1.0, 1.75))]
    limit = max(token_counts(settings))
    tokens = [np.prod(drawn.bucket.size) * drawn.cut_frames for drawn in of_step]
    assert max(tokens) <= max(limit, max(np.prod(drawn.bucket.size) for drawn in of_step))
    if not settings.random_frame_crop:
        assert len({drawn.cut_frames for drawn in of_step}) <= 2  # the same but for the rounding of sides


def test_tokens_of_a_step_are_drawn_without_random_frame_crop_too():
    settings = SampleSettings(
        enable_bucket=True, video_sample_size=512, token_sample_size=512, video_sample_n_frames=48,
        keep_all_node_same_token_length=True,
    )  # fmt: skip
    cuts = {draw(settings, step=step).cut_frames for step in range(100)}
    assert cuts == {8, 24, 48}  # of 256, 384 and 512 pixels a side


def test_one_of_ten_batches_is_cut_and_to_any_length():
    settings = SampleSettings(video_sample_n_frames=32, random_frame_crop=True)
    cuts = [draw(settings, seed=seed).cut_frames for seed in range(2000)]
    assert sorted(set(cuts)) == [8, 16, 24, 32] == cut_lengths(32, 8)
    assert 0.87 < cuts.count(32) / len(cuts) < 0.93


@pytest.mark.parametrize(
    ("image_size", "video_size", "expected"),
    [(256, 64, [1]), (512, 256, [1, 2]), (768, 256, [1, 1.25, 1.5, 3]), (1024, 512, [1, 1.25, 1.5, 2, 2])],
)
def test_pictures_are_also_drawn_at_the_size_of_videos(image_size, video_size, expected):
    settings = SampleSettings(image_sample_size=image_size, video_sample_size=video_size)
    divisors, shares = adapted_divisors(settings, is_video=False)
    assert divisors == expected and sum(shares) == pytest.approx(1)
    assert shares[0] == (1 if len(expected) == 1 else 0.75)


def test_large_videos_of_token_length_training_have_fewer_frames():
    settings = SampleSettings(
        enable_bucket=True, random_hw_adapt=True, training_with_video_token_length=True,
        video_sample_size=256, image_sample_size=1024, token_sample_size=512, video_sample_n_frames=144,
    )  # fmt: skip
    drawn = {draw(settings, seed=seed).bucket.size[0]: draw(settings, seed=seed).max_frames for seed in range(200)}
    assert drawn[256] == 144 and drawn[512] == 144 and drawn[1024] == 32
    small = {draw(settings, seed=seed, side=300.0).bucket.size[0] for seed in range(200)}
    assert small == {256}  # a small clip is not enlarged by more than a quarter


@pytest.mark.parametrize(
    ("num_frames", "size", "repeats"), [(144, 512, 1), (72, 512, 1), (36, 512, 2), (8, 512, 4), (144, 256, 2)]
)
def test_small_batches_of_token_length_training_stand_in_the_loss_more_often(num_frames, size, repeats):
    settings = SampleSettings(video_sample_n_frames=144, token_sample_size=512, training_with_video_token_length=True)
    assert count_repeats(num_frames, (size, size), settings) == repeats
    assert count_repeats(num_frames, (size, size), SampleSettings(video_sample_n_frames=144)) == 1
