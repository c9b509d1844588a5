"""Sharpness falls with blur and not with size; exposure says what is dark, bright and grey."""

import cv2
import numpy as np
import pytest

from ppdiffusers_ext.data.chain.sharpness import Sharpness
from tests.data.chain.measuring import measured


def picture(height=96, width=128):
    """Rounded patches of all colours, the same at every size."""
    rng = np.random.default_rng(1)
    small = rng.integers(0, 255, (96, 128, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def look(frame, **settings):
    return measured(Sharpness(**settings), [frame])


def test_blur_lowers_sharpness():
    frame = picture(384, 512)
    blurred = cv2.GaussianBlur(frame, (0, 0), 6)
    assert look(blurred)["sharpness"] < 0.5 * look(frame)["sharpness"]


def test_sharpness_does_not_depend_on_the_size():
    values = [look(picture(*size))["sharpness"] for size in ((384, 512), (768, 1024), (1152, 1536))]
    assert max(values) < 1.1 * min(values)


@pytest.mark.parametrize(
    ("color", "expected"),
    [
        ((0, 0, 0), {"brightness": 0.0, "saturation": 0.0, "dark_share": 1.0, "bright_share": 0.0}),
        ((255, 255, 255), {"brightness": 1.0, "saturation": 0.0, "dark_share": 0.0, "bright_share": 1.0}),
        ((255, 0, 0), {"brightness": 76 / 255, "saturation": 1.0, "dark_share": 0.0, "bright_share": 0.0}),
    ],
)
def test_exposure_of_plain_colours(color, expected):
    columns = look(np.full((40, 60, 3), color, np.uint8))
    assert columns == {"sharpness": 0.0} | {name: round(value, 5) for name, value in expected.items()}


def test_columns_are_means_of_frames_spread_over_the_clip():
    frames = [np.full((40, 60, 3), 255 * (index >= 10), np.uint8) for index in range(20)]
    assert measured(Sharpness(num_frames=4), frames)["brightness"] == 0.5
