"""What tests of reports share: people that are made up, and a network of faces without weights."""

import numpy as np

from ppdiffusers_ext.metrics.poses import NUM_POINTS, PARTS, Points
from ppdiffusers_ext.metrics.result_report import Driver, Networks

SIZE = (96, 64)  # height, width


def frames(count=6, size=SIZE, seed=0):
    """Noise that gets brighter by a level a frame."""
    picture = np.random.default_rng(seed).integers(0, 200, (*size, 3), dtype=np.uint8)
    return [picture + np.uint8(i) for i in range(count)]


def standing(shift=(0.0, 0.0), missing=()):
    """`Points` of a person; the face is 20 pixels wide, and lies in the upper half."""
    rng = np.random.default_rng(1)
    xy = rng.uniform((15, 40), (45, 90), (NUM_POINTS, 2))
    xy[PARTS["face"]] = rng.uniform((20, 10), (40, 35), (68, 2))
    seen = np.ones(NUM_POINTS, bool)
    seen[list(missing)] = False
    return Points(xy + np.array(shift), seen)


def always(*people):
    """An estimator that finds the same people in each frame."""
    return lambda pictures: (list(people) for _ in pictures)


class MeanColor:
    """Embeds a face as the mean of its colours, which brightness does not turn much."""

    name, threshold = "mean_color", 0.9

    def embed(self, crop):
        assert crop.shape == (112, 112, 3) and crop.dtype == np.uint8
        return crop.mean(axis=(0, 1)).astype(np.float64)


def networks(*people):
    return Networks(always(*(people or (standing(),))), "made_up", MeanColor())


def driver(count=6, **changes):
    return Driver([standing(**changes)] * count, "made_up")
