"""Frames as protocols want them."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.metrics.preparing import (
    check_sizes,
    common_length,
    frames_of,
    prepare,
    prepared_pairs,
    resized,
    size_after,
)
from ppdiffusers_ext.metrics.protocol import Frames, read_protocol
from ppdiffusers_ext.metrics.sources import Clip

DISCO, OURS = read_protocol("disco"), read_protocol("ours")


def picture(width, height):
    return np.random.default_rng(width * height).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("width, height", [(64, 64), (576, 1024), (101, 64), (3840, 2160)])
def test_real_frames_become_the_centred_square_in_pillows_bilinear(width, height):
    frame, side = picture(width, height), min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    square = Image.fromarray(frame).crop((left, top, left + side, top + side))
    expected = np.asarray(square.resize((256, 256), Image.Resampling.BILINEAR))
    assert np.array_equal(prepare(frame, DISCO.truth), expected)
    assert size_after(DISCO.truth, width, height) == (256, 256)


def test_generated_frames_are_resized_by_opencv_as_the_original_does():
    frame = picture(128, 128)
    assert prepare(frame, DISCO.prediction).shape == (128, 128, 3)
    expected = cv2.resize(frame, (256, 256), interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(resized(frame, (256, 256), "opencv_bilinear"), expected)
    assert not np.array_equal(
        resized(frame[::2, ::2], (32, 32), "bilinear"), resized(frame[::2, ::2], (32, 32), "opencv_bilinear")
    )


def test_own_size_stays():
    frame = picture(70, 50)
    assert prepare(frame, OURS.truth) is frame
    assert size_after(OURS.truth, 70, 50) == (70, 50)
    assert size_after(Frames("centre_square", None, "none"), 70, 50) == (50, 50)


class Made(Clip):
    """Clip of pictures in memory."""

    def frames(self, count=None):
        return (picture(self.width, self.height) for _ in range(self.num_frames if count is None else count))


def clip(width, height, num_frames):
    return Made(Path(f"{width}x{height}"), width, height, num_frames)


def test_pair_is_of_the_truths_size():
    pairs = list(prepared_pairs(clip(96, 96, 3), clip(64, 100, 3), DISCO, 2))
    assert [(one.shape, other.shape) for one, other in pairs] == [((256, 256, 3),) * 2] * 2


def test_generated_frames_of_the_true_size_are_treated_as_the_true_ones():
    (pair,) = prepared_pairs(clip(64, 100, 1), clip(64, 100, 1), DISCO, 1)
    assert np.array_equal(*pair)
    assert frames_of(clip(64, 100, 1), [clip(64, 90, 1), clip(64, 100, 1)], DISCO) == DISCO.truth
    assert frames_of(clip(64, 100, 1), [clip(64, 90, 1)], DISCO) == DISCO.prediction


def test_other_sizes_are_refused_where_nothing_resizes():
    check_sizes(clip(64, 64, 2), clip(64, 64, 2), OURS)
    check_sizes(clip(64, 64, 2), clip(70, 64, 2), DISCO)
    with pytest.raises(InputError, match="64x64 has 64x64 pixels, 70x64 70x64; protocol ours accepts the same size"):
        check_sizes(clip(64, 64, 2), clip(70, 64, 2), OURS)


def test_other_lengths_follow_the_protocols_rule():
    assert common_length(clip(64, 64, 5), clip(64, 64, 5), DISCO) == 5
    with pytest.raises(InputError, match="has 3 frames, 64x64 5; protocol disco accepts the same number"):
        common_length(clip(64, 64, 3), clip(64, 64, 5), DISCO)
    assert common_length(clip(64, 64, 3), clip(64, 64, 5), replace(DISCO, different_lengths="shortest")) == 3
