"""Metrics of pairs of frames by name."""

import numpy as np
import pytest

from ppdiffusers_ext.metrics.pairing import PairedMetrics, mean_of
from ppdiffusers_ext.metrics.perceptual import PERCEPTUAL, perceptual_distance
from ppdiffusers_ext.metrics.pixels import PIXELS
from ppdiffusers_ext.metrics.video import video_metrics
from tests.support.evaluated import moving, noisy


class Difference:
    """As an opened network of LPIPS is run: the mean difference of what it sees."""

    name = "lpips_vgg"

    def run(self, what, a, b):
        return [np.abs(a - b).mean(axis=(1, 2, 3))]


def gathered(names, prediction, truth):
    asked = []
    metrics = PairedMetrics(names, lambda name: asked.append(name) or Difference())
    for one, other in zip(prediction, truth):
        metrics.add(one, other)
    return metrics.frames, asked


def test_own_metrics_are_those_of_videos():
    truth = moving(0, 4)
    prediction = noisy(truth, 30)
    prediction[2] = truth[2]
    frames, asked = gathered(["psnr", "ssim", "l1", "flicker"], prediction, truth)
    expected = video_metrics(prediction, truth)
    assert {name: mean_of(values) for name, values in frames.items()} == pytest.approx(
        {name: expected[name] for name in frames}, rel=1e-12
    )
    assert frames["flicker"][0] is None and frames["psnr"][2] == 100 and asked == []


def test_names_of_papers_are_theirs():
    truth = moving(1, 2)
    prediction = noisy(truth, 9)
    names = ["disco_ssim", "disco_psnr", "disco_psnr_overflow", "disco_l1", "disco_lpips", "lpips_vgg"]
    frames, asked = gathered(names, prediction, truth)
    for name in names[:4]:
        assert frames[name] == [PIXELS[name](one, other) for one, other in zip(prediction, truth)]
    for name in names[4:]:
        expected = [perceptual_distance(PERCEPTUAL[name], Difference(), *pair) for pair in zip(prediction, truth)]
        assert frames[name] == expected
    assert asked == ["lpips_vgg"] * 2
    assert frames["lpips_vgg"][0] == pytest.approx(2 * frames["disco_lpips"][0], rel=1e-5)  # twice the range


@pytest.mark.parametrize("values, mean", [([1.0, None, 2.0], 1.5), ([None], None), ([], None)])
def test_mean_is_of_what_there_is(values, mean):
    assert mean_of(values) == mean
