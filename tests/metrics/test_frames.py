"""The numbers for two pictures: against scikit-image, in closed form, and what follows from their definitions."""

import math

import numpy as np
import pytest

from ppdiffusers_ext.metrics.frames import (
    MIN_SIDE,
    check_picture,
    difference,
    frame_l1,
    frame_psnr,
    frame_psnr_uint8_overflow,
    frame_ssim,
    structural_similarity,
)

FUNCTIONS = (frame_psnr, frame_psnr_uint8_overflow, frame_ssim, frame_l1)

# scikit-image 0.26.0 (scipy 1.13.1, numpy 1.26.4) for `noisy_pair(seed, noise, height, width)`:
#     peak_signal_noise_ratio(truth, prediction, data_range=255)
#     structural_similarity(prediction, truth, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
#                           data_range=255, channel_axis=-1)
SCIKIT_IMAGE = [
    ((0, 5, 40, 56), 38.16369380528544, 0.9899726654364974),
    ((1, 40, 40, 56), 21.144442194558593, 0.7529980578180867),
    ((2, 120, 33, 47), 12.62274179674873, 0.37050244562934087),
    ((3, 255, 11, 11), 7.8674781887457925, 0.04031354890704616),
]
# `psnr_eval` of DisCo's tool/metrics/ssim_l1_lpips_psnr.py for the same pictures, under numpy 1.26.4.
DISCO = [38.16369380528544, 28.30479385269704, 27.76801961721354, 27.16668337132681]


def noisy_pair(seed, noise, height=40, width=56):
    """Coloured squares of 8 pixels with noise of up to `noise` levels, and the same without."""
    rng = np.random.RandomState(seed)
    truth = np.kron(rng.randint(0, 256, (5, 7, 3)), np.ones((8, 8, 1))).astype(np.uint8)[:height, :width]
    noisy = truth + rng.randint(-noise, noise + 1, truth.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8), truth


def flat(level, height=16, width=20):
    return np.full((height, width, 3), level, np.uint8)


@pytest.mark.parametrize(("arguments", "psnr", "ssim"), SCIKIT_IMAGE)
def test_psnr_and_ssim_are_those_of_scikit_image(arguments, psnr, ssim):
    pair = noisy_pair(*arguments)
    assert frame_psnr(*pair) == pytest.approx(psnr, abs=1e-10)
    assert frame_ssim(*pair) == pytest.approx(ssim, abs=1e-10)


@pytest.mark.parametrize("levels", [1, 15, 16, 200, 255])
def test_constant_difference(levels):
    assert frame_psnr(flat(levels), flat(0)) == pytest.approx(20 * math.log10(255 / levels))
    assert frame_l1(flat(levels), flat(0)) == pytest.approx(levels / 255)
    # Without variance only the term of the means is left: (2xy + C1) / (x^2 + y^2 + C1).
    constant = 2.55**2
    assert frame_ssim(flat(levels), flat(30)) == pytest.approx(
        (60 * levels + constant) / (levels**2 + 900 + constant), abs=1e-10
    )


def test_identical_pictures():
    picture = noisy_pair(0, 40)[0]
    assert frame_psnr(picture, picture) == math.inf
    assert frame_psnr_uint8_overflow(picture, picture) == 100
    assert frame_ssim(picture, picture) == pytest.approx(1, abs=1e-12)
    assert frame_l1(picture, picture) == 0


@pytest.mark.parametrize(
    ("levels", "square"),
    [
        (15, 225),  # the largest difference whose square fits into 8 bits: nothing wraps around
        (17, 33),  # 289 - 256
        (200, 64),  # 40000 - 156 * 256
        (91, 89),  # 8281 - 32 * 256
        (255, 1),  # black against white counts as a difference of one level
    ],
)
def test_overflow_reduces_squares_modulo_256(levels, square):
    expected = 10 * math.log10(255**2 / square)
    assert frame_psnr_uint8_overflow(flat(levels), flat(0)) == pytest.approx(expected)
    # 0 - levels wraps around as well, and its square is the same modulo 256.
    assert frame_psnr_uint8_overflow(flat(0), flat(levels)) == pytest.approx(expected)


@pytest.mark.parametrize(("arguments", "expected"), [(case[0], psnr) for case, psnr in zip(SCIKIT_IMAGE, DISCO)])
def test_overflow_is_that_of_disco(arguments, expected):
    assert frame_psnr_uint8_overflow(*noisy_pair(*arguments)) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("levels", [16, 32, 160, 240])
def test_overflow_takes_multiples_of_16_levels_for_identical(levels):
    assert frame_psnr_uint8_overflow(flat(levels), flat(0)) == 100


def test_overflow_is_the_psnr_where_nothing_overflows_and_is_far_above_it_elsewhere():
    close, truth = noisy_pair(0, 15)
    assert frame_psnr_uint8_overflow(close, truth) == pytest.approx(frame_psnr(close, truth))
    # For all pairs of levels at once: a picture of 256x256 in which each pair occurs.
    rows, columns = np.broadcast_arrays(np.arange(256)[:, None, None], np.arange(256)[None, :, None])
    every = [np.repeat(levels.astype(np.uint8), 3, axis=2) for levels in (rows, columns)]
    assert frame_psnr(*every) == pytest.approx(10 * math.log10(255**2 / ((256**2 - 1) / 6)))
    squares = (np.arange(256)[:, None] - np.arange(256)) ** 2 % 256
    assert frame_psnr_uint8_overflow(*every) == pytest.approx(10 * math.log10(255**2 / squares.mean()))
    assert 27 < frame_psnr_uint8_overflow(*every) < 29


def test_overflow_is_never_below_what_the_docstring_says():
    least = min(frame_psnr_uint8_overflow(flat(levels), flat(0)) for levels in range(256))
    assert round(least, 2) == 24.17


def test_l1_and_difference_do_not_wrap_around():
    black, white = flat(0), flat(255)
    assert difference(black, white).min() == difference(black, white).max() == -255
    assert frame_l1(black, white) == 1


@pytest.mark.parametrize("function", FUNCTIONS)
def test_prediction_and_truth_may_be_exchanged(function):
    prediction, truth = noisy_pair(1, 40)
    assert function(prediction, truth) == pytest.approx(function(truth, prediction), abs=1e-12)
    before = prediction.copy(), truth.copy()
    function(prediction, truth)
    assert np.array_equal(before, (prediction, truth))


def test_more_noise_is_worse():
    pairs = [noisy_pair(0, noise) for noise in (2, 10, 40, 120)]
    for function, sign in ((frame_psnr, -1), (frame_ssim, -1), (frame_l1, 1)):
        values = [sign * function(*pair) for pair in pairs]
        assert values == sorted(values)


def test_ssim_sees_blurred_structure_that_a_shift_of_brightness_keeps():
    truth = noisy_pair(0, 40)[0] // 2
    brighter = truth + 10
    blurred = ((truth[:, :-1].astype(int) + truth[:, 1:]) // 2).astype(np.uint8)
    assert frame_ssim(brighter, truth) > frame_ssim(blurred, truth[:, 1:])
    assert frame_psnr(brighter, truth) > frame_psnr(flat(0, 40, 56), truth)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_what_are_not_two_pictures_of_one_shape_is_refused(function):
    with pytest.raises(ValueError, match=r"shape \(16, 20, 3\), the truth \(16, 21, 3\)"):
        function(flat(0), flat(0, width=21))
    with pytest.raises(ValueError, match="the truth has shape .* type float64"):
        function(flat(0), flat(0).astype(float))
    with pytest.raises(ValueError, match=r"the prediction has shape \(16, 20\)"):
        function(flat(0)[..., 0], flat(0))
    with pytest.raises(ValueError, match=r"the prediction has shape \(0, 20, 3\)"):
        function(flat(0, height=0), flat(0, height=0))


def test_ssim_says_what_is_too_small_for_its_window():
    with pytest.raises(ValueError, match="SSIM needs sides of 11 pixels"):
        frame_ssim(flat(0, height=MIN_SIDE - 1), flat(0, height=MIN_SIDE - 1))


@pytest.mark.parametrize("shape", [(1, 12, 17), (3, 7, 9)])
def test_ssim_of_the_square_window_is_the_mean_over_all_windows_of_7_by_7(shape):
    """By the formula of Wang et al. 2004, with covariances over one less than the pixels."""
    rng = np.random.default_rng(0)
    x, y = (rng.integers(0, 256, shape, dtype=np.uint8) for _ in range(2))
    y = (x // 2 + y // 2).astype(np.uint8)
    windows = [np.lib.stride_tricks.sliding_window_view(z, (7, 7), (1, 2)).reshape(-1, 49) for z in (x, y)]
    found = []
    for a, b in zip(*windows):
        (variance_a, covariance), (_, variance_b) = np.cov(a, b)
        luminance = (2 * a.mean() * b.mean() + 2.55**2) / (a.mean() ** 2 + b.mean() ** 2 + 2.55**2)
        found.append(luminance * (2 * covariance + 7.65**2) / (variance_a + variance_b + 7.65**2))
    assert structural_similarity(x, y, uniform=True) == pytest.approx(np.mean(found), abs=1e-10)
    with pytest.raises(ValueError, match="^pictures have 6 rows of 9 pixels, SSIM needs sides of 7 pixels or more$"):
        structural_similarity(x[:, :6, :9], y[:, :6, :9], uniform=True)


def test_picture_is_called_a_frame_unless_it_is_named():
    with pytest.raises(ValueError, match=r"^the frame has shape \(2, 2\) and type uint8, not \(H, W, 3\) and uint8$"):
        check_picture(np.zeros((2, 2), np.uint8))
    with pytest.raises(ValueError, match="^the mask has shape"):
        check_picture(np.zeros((2, 2, 4), np.uint8), "mask")
