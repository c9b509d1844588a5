"""LPIPS of two pictures by name: the values that the network is meant for, and those that DisCo's evaluation gives it.

See `ppdiffusers_ext.models.metrics.lpips` for the network.
"""

from dataclasses import dataclass

import numpy as np

from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.metrics.frames import difference
from ppdiffusers_ext.metrics.networks import OpenedNetwork


@dataclass(frozen=True)
class PerceptualMetric:
    """A distance of two pictures by a network; 0 for the same picture, lower is better.

    Attributes:
        name: key in `PERCEPTUAL`.
        network: key in `NETWORKS`.
        scale, shift: the network sees levels / scale - shift.
    """

    name: str
    network: str
    scale: float
    shift: float


PERCEPTUAL = {
    metric.name: metric
    for metric in (
        PerceptualMetric("lpips_alex", "lpips_alex", 127.5, 1),  # from -1 to 1
        PerceptualMetric("lpips_vgg", "lpips_vgg", 127.5, 1),
        # From 0 to 1, which the network takes for pictures of little contrast: several times smaller.
        PerceptualMetric("disco_lpips", "lpips_vgg", 255, 0),
    )
}


def perceptual_metric(name: str) -> PerceptualMetric:
    """The metric of a name. Raises InputError for one that is not known."""
    if name not in PERCEPTUAL:
        raise InputError(f"perceptual metric {shown(name)} is not known; {', '.join(PERCEPTUAL)} are")
    return PERCEPTUAL[name]


def perceptual_distance(metric: PerceptualMetric, network: OpenedNetwork, a: np.ndarray, b: np.ndarray) -> float:
    """The distance of two pictures; exactly 0 for the same one, of which a compiled engine leaves a rounding error.

    Args:
        metric: of `PERCEPTUAL`.
        network: the opened one that it names.
        a, b: (H, W, 3) uint8 RGB of one size.

    Raises:
        ValueError: sizes differ, or what is no such picture.
        InputError: another network, or sides that are too small for it.
    """
    if network.name != metric.network:
        raise InputError(f"{metric.name} by {network.name}; {metric.network} is needed")
    difference(a, b)  # of one shape
    if np.array_equal(a, b):
        return 0.0
    pair = {name: _pixels(metric, picture) for name, picture in (("a", a), ("b", b))}
    return float(network.run("forward", **pair)[0][0])


def _pixels(metric: PerceptualMetric, picture: np.ndarray) -> np.ndarray:
    channels = picture.transpose(2, 0, 1).astype(np.float32)
    return (channels / np.float32(metric.scale) - np.float32(metric.shift))[None]
