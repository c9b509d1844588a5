"""Frames that are resized to cover a size: as Pillow does it in fp32."""

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppdiffusers_ext.data.easy_animate.buckets import SHAPES, scale_bucket
from ppdiffusers_ext.data.easy_animate.resampling import resize_middle

SIDES = st.integers(16, 200)


@settings(max_examples=50)
@given(SIDES, SIDES, st.sampled_from(list(SHAPES)), st.sampled_from([64, 128]), st.integers(0, 9))
def test_middle_of_a_frame_is_that_of_pillow(height, width, ratio, base, seed):
    frame = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    bucket = scale_bucket(ratio, SHAPES[ratio], base)
    covering = bucket.cover(height, width)
    planes = [PIL.Image.fromarray(plane.astype(np.float32)) for plane in frame.transpose(2, 0, 1)]
    resized = np.stack([plane.resize(covering[::-1], PIL.Image.Resampling.BILINEAR) for plane in planes])
    top, left = (round((whole - side) / 2) for whole, side in zip(covering, bucket.size))
    expected = resized[:, top : top + bucket.size[0], left : left + bucket.size[1]] / 127.5 - 1
    ours = resize_middle(frame, bucket.size, covering)
    assert ours.dtype == np.float32 and ours.shape == (3, *bucket.size)
    np.testing.assert_allclose(ours, expected, atol=2e-6)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_flat_frame_stays_flat(level):
    frame = np.full((90, 160, 3), level, np.uint8)
    np.testing.assert_allclose(resize_middle(frame, (48, 80), (48, 85)), level / 127.5 - 1, atol=1e-6)
