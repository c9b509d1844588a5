"""Motion: the original's score in pixels, and a speed that depends neither on size nor on frame rate."""

import cv2
import numpy as np
import pytest

from ppdiffusers_ext.data.chain.motion import Motion, flow_length, pairs_of, sampled
from ppdiffusers_ext.data.chain.steps import ClipFacts
from ppdiffusers_ext.errors import InputError
from tests.data.chain.measuring import measured


def pan(seconds, fps, height, speed):
    """A camera that goes to the right by so many heights of the picture a second."""
    small = np.random.default_rng(3).integers(0, 255, (18, 64, 3), np.uint8)
    scene = cv2.resize(small, (4 * height, height), interpolation=cv2.INTER_CUBIC)
    frames = []
    for index in range(round(seconds * fps)):
        matrix = np.float32([[1, 0, -speed * height * index / fps], [0, 1, 0]])
        frames.append(cv2.warpAffine(scene, matrix, (height * 4 // 3, height), borderMode=cv2.BORDER_REFLECT))
    return frames


def facts(num_frames, fps):
    return ClipFacts(num_frames, fps, 64, 48)


@pytest.mark.parametrize("speed", [0.1, 0.4])
def test_speed_is_that_of_the_camera_whatever_size_and_frame_rate(speed):
    clips = [
        (pan(2, fps, height, speed), fps) for fps, height in ((24, 96), (24, 240), (12, 96), (60, 96), (29.97, 96))
    ]
    found = [measured(Motion(in_pixels=False, short_side=96), frames, fps)["motion_speed"] for frames, fps in clips]
    assert found == pytest.approx([speed] * 5, rel=0.1)


def test_score_in_pixels_grows_with_the_size():
    small, large = (measured(Motion(), pan(1.2, 12, height, 0.1), 12)["motion_score"] for height in (96, 192))
    assert large == pytest.approx(2 * small, rel=0.1)
    assert small == pytest.approx(0.1 * 96 / 2, rel=0.1)


def test_score_in_pixels_can_be_left_out():
    columns = measured(Motion(in_pixels=False), pan(1, 12, 48, 0.1), 12)
    assert set(columns) == {"motion_speed"}


def test_clip_that_stands_still_does_not_move():
    frames = pan(1, 12, 48, 0.0)
    assert max(measured(Motion(), frames, 12).values()) < 0.002


@pytest.mark.parametrize(
    ("num_frames", "fps", "indices"),
    [(48, 24, [0, 12, 24, 36]), (5, 24, [0, 4]), (4, 1, [0, 1, 2, 3]), (60, 29.97, [0, 14, 28, 42, 56])],
)
def test_frames_of_the_score_are_the_original_ones(num_frames, fps, indices):
    assert list(sampled(facts(num_frames, fps))) == indices


@pytest.mark.parametrize(
    ("num_frames", "fps", "pairs"),
    [(24, 24, [(0, 2), (12, 14)]), (2, 24, [(0, 1)]), (6, 1, [(i, i + 1) for i in range(5)]), (30, 60, [(0, 5)])],
)
def test_pairs_of_the_speed_are_a_twelfth_of_a_second_apart(num_frames, fps, pairs):
    assert pairs_of(facts(num_frames, fps)) == pairs


def test_clip_of_one_frame_is_refused():
    with pytest.raises(InputError, match="1 frame"):
        Motion().choose(facts(1, 24))


def test_flow_has_the_length_of_a_shift():
    first, second = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in pan(2, 1, 96, 3 / 96))
    assert flow_length(first, second) == pytest.approx(3, rel=0.05)
