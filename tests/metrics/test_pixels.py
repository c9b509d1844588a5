"""Pixel metrics by name: the originals' numbers, sizes that differ, and what they have in common."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from scipy.ndimage import gaussian_filter

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.metrics.pixels import PIXELS, grey, pixel_metric, resize_to
from tests.parity_metrics import PIXEL_NAMES

CASE = Path(__file__).parents[1] / "goldens" / "metrics" / "ssim_psnr"
INPUTS, OUTPUTS = (load_file(CASE / f"{name}.safetensors") for name in ("inputs", "outputs"))


def pair(number):
    return INPUTS[f"pair{number}.generated"], INPUTS[f"pair{number}.truth"]


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("name", PIXEL_NAMES)
def test_metric_is_that_of_the_original(number, name):
    metric, (generated, truth) = PIXELS[PIXEL_NAMES[name]], pair(number)
    if not metric.resizes:
        generated = resize_to(generated, truth)
    assert metric(generated, truth) == pytest.approx(float(OUTPUTS[f"pair{number}.{name}"][0]), abs=1e-6)


@pytest.mark.parametrize("number", range(3))
def test_grey_and_resized_pictures_are_equal_to_those_of_opencv(number):
    generated, truth = pair(number)
    resized = resize_to(generated, truth)
    np.testing.assert_array_equal(resized, OUTPUTS.get(f"pair{number}.resized", generated))
    np.testing.assert_array_equal(grey(resized), OUTPUTS[f"pair{number}.gray_generated"])
    np.testing.assert_array_equal(grey(truth), OUTPUTS[f"pair{number}.gray_truth"])


@pytest.mark.parametrize("name", [name for name, metric in PIXELS.items() if not metric.resizes])
def test_sizes_that_differ_are_refused_where_the_original_does_not_resize(name):
    with pytest.raises(ValueError, match=r"\(90, 64, 3\), the truth \(60, 44, 3\)"):
        PIXELS[name](*pair(2))


@pytest.mark.parametrize("name", PIXELS)
def test_noise_and_blur_make_a_metric_worse(name):
    if "overflow" in name:
        pytest.skip("large errors vanish in it")
    metric, (_, truth) = PIXELS[name], pair(1)
    noise = np.random.RandomState(0).standard_normal(truth.shape)
    noisy = [np.clip(truth + part * noise, 0, 255).astype(np.uint8) for part in (0, 5, 20, 60)]
    blurred = [truth] + [gaussian_filter(truth, (sigma, sigma, 0)) for sigma in (0.7, 1.5, 4)]
    for pictures in (noisy, blurred):
        found = [metric(picture, truth) for picture in pictures]
        assert found == sorted(set(found), reverse=metric.higher_is_better)


@pytest.mark.parametrize("name", PIXELS)
def test_metric_is_the_same_both_ways(name):
    generated, truth = pair(1)
    assert PIXELS[name](generated, truth) == pytest.approx(PIXELS[name](truth, generated), rel=1e-12)


def test_l1_of_disco_falls_with_the_area():
    generated, truth = pair(0)
    larger = [np.tile(picture, (2, 3, 1)) for picture in (generated, truth)]
    assert PIXELS["disco_l1"](*larger) == pytest.approx(PIXELS["disco_l1"](generated, truth) / 6)
    assert PIXELS["mae_255"](*larger) == pytest.approx(PIXELS["mae_255"](generated, truth))


@pytest.mark.parametrize("name", ["prediction", "truth"])
def test_what_is_no_picture_is_named(name):
    pictures = {"generated": pair(0)[0], "truth": pair(0)[1]}
    key = "generated" if name == "prediction" else name
    with pytest.raises(ValueError, match=f"^the {name} has shape"):
        resize_to(**{**pictures, key: pictures[key][..., 0]})


def test_unknown_name_is_told_with_those_that_are_known():
    assert pixel_metric("disco_ssim") is PIXELS["disco_ssim"]
    with pytest.raises(InputError, match="'ssimm' of pixels is not known; ssim, psnr, "):
        pixel_metric("ssimm")
