"""Drift that is known: colours that change linearly, pictures that are blurred, frames that flicker."""

import cv2
import numpy as np
import pytest

from ppdiffusers_ext.metrics.drift import LEAST, Drift, mean_lab, sharpness, slope

RNG = np.random.default_rng(0)
SRGB = np.array([(0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505)])
WHITE = SRGB.sum(axis=1)
PICTURE = RNG.integers(0, 256, (48, 40, 3), dtype=np.uint8)


def flat(lab, dithered=False):
    """A frame of one colour of CIELAB; dithered, that its mean is not rounded to 8 bits."""
    roots = (lab[0] + 16) / 116 + np.array([lab[1] / 500, 0, -lab[2] / 200])
    xyz = np.where(roots > 6 / 29, roots**3, 3 * (6 / 29) ** 2 * (roots - 4 / 29)) * WHITE
    linear = np.linalg.solve(SRGB, xyz)
    rgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.abs(linear) ** (1 / 2.4) - 0.055) * 255
    assert (rgb >= 0).all() and (rgb <= 255).all()
    noise = np.random.default_rng(0).random((64, 48, 3)) if dithered else 0.5
    return np.floor(np.broadcast_to(rgb, (64, 48, 3)) + noise).clip(0, 255).astype(np.uint8)


def drift(reference, frames):
    found = Drift(reference)
    for frame in frames:
        found.add(frame)
    return found.result()


# Lindbloom's values for sRGB and D65.
@pytest.mark.parametrize(
    "rgb, lab",
    [
        ((255, 255, 255), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
        ((128, 128, 128), (53.59, 0, 0)),
        ((28, 28, 28), (10.27, 0, 0)),
        ((8, 0, 0), (0.47, 2.09, 0.74)),  # where CIELAB is linear
    ],
)
def test_colours_are_those_of_cielab(rgb, lab):
    assert mean_lab(np.full((8, 8, 3), rgb, np.uint8)) == pytest.approx(np.array(lab), abs=0.03)


def test_mean_is_that_of_all_pixels():
    frame = np.zeros((8, 8, 3), np.uint8)
    frame[:2] = 255
    assert mean_lab(frame) == pytest.approx(np.array([25, 0, 0]), abs=0.01)


@pytest.mark.parametrize("change", [(20, 0, 0), (0, 15, 0), (0, 0, -25), (10, 5, -10), (0, 0, 0)])
def test_colours_that_drift_linearly_have_that_slope(change):
    start, change, count = np.array([50.0, 5.0, 10.0]), np.array(change, float), 60
    colour = drift(flat(start, True), [flat(start + change * i / 100, True) for i in range(count)])["colour"]
    assert np.array(colour["lab_per_100_frames"]) == pytest.approx(change, abs=0.1)
    assert colour["delta_e_per_100_frames"] == pytest.approx(np.linalg.norm(change), abs=0.1)
    assert colour["max"] == pytest.approx(np.linalg.norm(change) * (count - 1) / 100, abs=0.1)
    assert colour["delta_e"] == pytest.approx(np.linalg.norm(change) * (count - 1) / 200, abs=0.1)
    assert len(colour["frames"]["delta_e"]) == len(colour["frames"]["lab"]) == count


def test_constant_offset_is_no_drift():
    colour = drift(flat((50, 0, 0)), [flat((60, 0, 0))] * LEAST)["colour"]
    assert colour["delta_e"] == pytest.approx(10, abs=0.3)
    assert colour["delta_e_per_100_frames"] == pytest.approx(0, abs=1e-6)


def test_sharpness_falls_as_pictures_are_blurred():
    blurred = [PICTURE, *(cv2.GaussianBlur(PICTURE, (0, 0), 0.5 + 0.07 * i) for i in range(LEAST))]
    sharp = drift(PICTURE, blurred)["sharpness"]
    assert sharp["frames"][0] == pytest.approx(1)
    assert sharp["frames"] == sorted(sharp["frames"], reverse=True) and sharp["frames"][-1] < 0.02
    assert sharp["mean"] == pytest.approx(np.mean(sharp["frames"])) and sharp["per_100_frames"] < 0


def test_sharpness_is_the_variance_of_the_laplacian():
    frame = np.zeros((5, 5, 3), np.uint8)
    frame[2, 2] = 100  # its Laplacian is -400 there, and 100 at the four neighbours
    assert sharpness(frame) == pytest.approx((400**2 + 4 * 100**2) / 25)
    assert sharpness(np.full((5, 5, 3), 90, np.uint8)) == 0


def test_flat_reference_leaves_sharpness_unmeasured():
    assert drift(flat((50, 0, 0)), [flat((50, 0, 0))])["sharpness"] == {
        "mean": None,
        "per_100_frames": None,
        "frames": None,
    }
    nearly = np.full((64, 48, 3), 90, np.uint8)
    nearly[5, 5] += 2
    assert 0 < sharpness(nearly) < 1
    assert drift(nearly, [nearly])["sharpness"]["mean"] == 1


def test_colour_of_the_reference_is_told():
    assert drift(flat((50, 0, 0)), [flat((60, 0, 0))])["colour"]["reference_lab"][0] == pytest.approx(50, abs=0.3)


def test_flicker_is_change_that_goes_back():
    def levels(*values):
        return [np.full((16, 16, 3), value, np.uint8) for value in values]

    reference = PICTURE[:16, :16]
    assert drift(reference, levels(100, 110, 100, 110))["flicker_second_difference"] == 10
    assert drift(reference, levels(100, 105, 110, 115))["flicker_second_difference"] == 0
    assert drift(reference, levels(0, 0, 100, 0))["flicker_second_difference"] == (50 + 100) / 2
    assert drift(reference, levels(0, 255, 0))["flicker_second_difference"] == 255
    assert drift(reference, levels(100, 110))["flicker_second_difference"] is None


def test_single_frame_has_no_slopes():
    result = drift(PICTURE, [PICTURE])
    assert result["colour"]["lab_per_100_frames"] == [None] * 3
    assert result["colour"]["delta_e_per_100_frames"] is result["sharpness"]["per_100_frames"] is None


def test_slope_is_per_hundred_frames_and_leaves_gaps_out():
    assert slope([2 + 0.03 * i for i in range(LEAST)]) == pytest.approx(3)
    assert slope([None, 1.0, *[None] * (LEAST - 2), 1.23]) == pytest.approx(100 * 0.23 / (LEAST - 1))


@pytest.mark.parametrize("count", [0, 1, 2, 7, LEAST - 1])
def test_few_frames_have_no_slope(count):
    assert slope([2 + 0.03 * i for i in range(count)]) is None
    assert slope([None] * 50 + [2.0 + i for i in range(count)] + [None] * 50) is None


@pytest.mark.parametrize("frame", [PICTURE[:, :, 0], PICTURE.astype(np.float32), np.zeros((0, 4, 3), np.uint8)])
def test_what_is_no_frame_is_refused(frame):
    with pytest.raises(ValueError, match="the frame has shape"):
        Drift(PICTURE).add(frame)


def test_frames_of_several_sizes_and_none_at_all_are_refused():
    found = Drift(PICTURE)
    with pytest.raises(ValueError, match="no frames"):
        found.result()
    found.add(PICTURE)
    with pytest.raises(ValueError, match="frame 1 has shape"):
        found.add(PICTURE[:20])
