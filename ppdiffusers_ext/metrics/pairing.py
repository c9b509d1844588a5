"""Metrics of pairs of frames by their names, gathered over a clip."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ppdiffusers_ext.metrics.catalogue import METRICS
from ppdiffusers_ext.metrics.pixels import PIXELS
from ppdiffusers_ext.metrics.video import PSNR_CAP, VideoMetrics

_FLICKER = "flicker"


class PairedMetrics:
    """Adds frames of two videos in order, and keeps the numbers of each.

    Args:
        names: of metrics of the kind "paired" in `catalogue`.
        open_network: of a name in `networks.NETWORKS`; called for those that are needed.

    Attributes:
        frames: name -> the value of each frame; None where it has none: the first frame has no flicker.
    """

    def __init__(self, names: Sequence[str], open_network: Callable[[str], Any]) -> None:
        self._video = VideoMetrics([_FLICKER])
        self._functions = {name: _function(name, open_network) for name in names if name != _FLICKER}
        self.frames: dict[str, list[float | None]] = {name: [] for name in names}

    def add(self, prediction: np.ndarray, truth: np.ndarray) -> None:
        """Add the next frame of both, (H, W, 3) uint8 of one size."""
        if _FLICKER in self.frames:
            self.frames[_FLICKER].append(self._video.add(prediction, truth)[_FLICKER])
        for name, function in self._functions.items():
            value = function(prediction, truth)
            self.frames[name].append(min(value, PSNR_CAP) if name == "psnr" else value)


def _function(name: str, open_network: Callable[[str], Any]) -> Callable[[np.ndarray, np.ndarray], float]:
    if name in PIXELS:
        return PIXELS[name]
    from ppdiffusers_ext.metrics.perceptual import PERCEPTUAL, perceptual_distance  # opens networks

    return functools.partial(perceptual_distance, PERCEPTUAL[name], open_network(METRICS[name].network))


def mean_of(values: Sequence[float | None]) -> float | None:
    """The mean of the values that there are; None if there are none. The order of additions does not change it."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None
