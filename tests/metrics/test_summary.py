"""Numbers of a dataset, and their intervals."""

from dataclasses import replace

import numpy as np
import pytest

from ppdiffusers_ext.metrics.catalogue import METRICS
from ppdiffusers_ext.metrics.frechet import Statistics, frechet_distance
from ppdiffusers_ext.metrics.protocol import Bootstrap
from ppdiffusers_ext.metrics.summary import of_features, of_frames, too_few

BOOTSTRAP = Bootstrap(samples=200, distances=10, level=0.9, seed=3)


def test_mean_over_frames_and_over_clips_differ():
    clips = [[1.0, 1.0, 1.0], [5.0]]
    assert of_frames("ssim", clips, "frames", BOOTSTRAP)["value"] == 2
    assert of_frames("ssim", clips, "clips", BOOTSTRAP)["value"] == 3


def test_frames_without_a_number_do_not_count():
    number = of_frames("flicker", [[None, 2.0], [None], [None, 4.0]], "frames", BOOTSTRAP)
    assert (number["value"], number["better"], number["network"]) == (3, "lower", None)
    assert of_frames("flicker", [[None]], "frames", BOOTSTRAP)["value"] is None


def test_interval_draws_whole_clips():
    rng = np.random.default_rng(0)
    clips = [[float(mean)] * 50 for mean in rng.normal(10, 2, 40)]  # of one clip all frames are alike
    number = of_frames("psnr", clips, "frames", BOOTSTRAP)
    assert number["low"] < number["value"] < number["high"]
    half = (number["high"] - number["low"]) / 2
    assert half == pytest.approx(1.645 * 2 / np.sqrt(40), rel=0.3)  # as of 40 numbers, not of 2000
    assert of_frames("psnr", clips, "frames", BOOTSTRAP) == number
    assert of_frames("psnr", clips[:1], "frames", BOOTSTRAP)["low"] is None


def test_interval_has_as_much_on_either_side_as_the_level_says():
    means = np.random.default_rng(1).normal(10, 2, 40)
    bootstrap = replace(BOOTSTRAP, samples=4000)
    number = of_frames("psnr", [[float(mean)] for mean in means], "frames", bootstrap)
    expected = 1.645 * means.std() / np.sqrt(40)
    assert number["value"] - number["low"] == pytest.approx(expected, rel=0.07)
    assert number["high"] - number["value"] == pytest.approx(expected, rel=0.07)


def test_two_clips_and_two_draws_are_enough_for_an_interval():
    number = of_frames("psnr", [[1.0], [2.0]], "frames", replace(BOOTSTRAP, samples=2))
    assert 1 <= number["low"] <= number["high"] <= 2


def features(seed, *counts, shift=0.0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((count, 5)).astype(np.float32) + np.float32(shift) for count in counts]


def test_distance_is_of_all_windows_together():
    predictions, truths = features(0, 20, 0, 30), features(1, 25, 20, shift=1)
    number = of_features("fvd", "i3d_fvd", predictions, truths, BOOTSTRAP)
    sides = []
    for clips in (predictions, truths):
        statistics = Statistics(5)
        statistics.add(np.concatenate(clips))
        sides.append(statistics)
    assert number["value"] == frechet_distance(*sides)
    assert (number["num_predictions"], number["num_truths"], number["network"]) == (50, 45, "i3d_fvd")
    assert number["low"] < number["value"] < number["high"]
    assert of_features("fvd", "i3d_fvd", predictions, truths, BOOTSTRAP) == number


def test_equal_sets_have_no_distance_and_one_clip_no_interval():
    number = of_features("fid", "inception_fid", features(0, 30), features(0, 30), BOOTSTRAP)
    assert (number["value"], number["low"], number["high"]) == (0, None, None)


def test_no_draws_are_no_interval():
    bootstrap = replace(BOOTSTRAP, samples=0, distances=0)
    assert of_frames("psnr", [[1.0], [2.0]], "frames", bootstrap)["low"] is None
    assert of_features("fid", "inception_fid", features(0, 9, 9), features(1, 9, 9), bootstrap)["low"] is None


def test_interval_of_alike_frames_is_wide():
    """Frames that repeat one another say no more than the clips that they are of."""
    alike = [np.repeat(each, 20, axis=0) for each in features(0, *[1] * 8)]
    single = [np.concatenate(alike)[i : i + 1] for i in range(160)]  # each frame as a clip of its own
    truths = features(1, 80, 80, shift=1)
    widths = []
    for predictions in (alike, single):
        number = of_features("fid", "inception_fid", predictions, truths, BOOTSTRAP)
        widths.append(number["high"] - number["low"])
    assert widths[0] > 1.5 * widths[1]


def test_too_few_windows_are_told_in_frames():
    assert too_few(METRICS["fvd"], {"predictions": 2, "truths": 2}, 16) == ""
    told = too_few(METRICS["fvd"], {"predictions": 0, "truths": 2}, 16)
    assert told == "FVD needs two runs of 16 frames or more of each side; the predictions have 0"
