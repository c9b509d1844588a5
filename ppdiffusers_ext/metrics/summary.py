"""Numbers of a dataset from those of its clips, with intervals: the same bits in whatever order clips were computed.

Intervals are those of the bootstrap over clips (Efron 1979, percentiles): whole clips are drawn again with
replacement, for the frames of one clip are not independent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ppdiffusers_ext.errors import counted
from ppdiffusers_ext.metrics.catalogue import METRICS, Metric
from ppdiffusers_ext.metrics.frechet import Statistics, frechet_distance, interval
from ppdiffusers_ext.metrics.pairing import mean_of
from ppdiffusers_ext.metrics.protocol import Bootstrap


def of_frames(
    name: str, clips: Sequence[Sequence[float | None]], average: str, bootstrap: Bootstrap
) -> dict[str, Any]:
    """The mean of a metric over a dataset.

    Args:
        name: of the metric.
        clips: the values of the frames of each.
        average: "frames" or "clips", see `Protocol`.

    Returns:
        see `described`.
    """
    known = [[value for value in clip if value is not None] for clip in clips]
    known = [clip for clip in known if clip]
    if average == "clips":
        known = [[math.fsum(clip) / len(clip)] for clip in known]
    value = mean_of([value for clip in known for value in clip])
    sums = np.array([math.fsum(clip) for clip in known])
    counts = np.array([len(clip) for clip in known], float)
    return described(name, value, _interval_of_means(sums, counts, bootstrap))


def _interval_of_means(sums: np.ndarray, counts: np.ndarray, bootstrap: Bootstrap) -> tuple[float, float] | None:
    if min(len(sums), bootstrap.samples) < 2:
        return None
    rng = np.random.default_rng(bootstrap.seed)
    drawn = rng.integers(len(sums), size=(bootstrap.samples, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - bootstrap.level) / 2, (1 + bootstrap.level) / 2])
    return float(low), float(high)


def described(name: str, value: float | None, between: tuple[float, float] | None, **more: Any) -> dict[str, Any]:
    """A number of a dataset as files have it: with its interval, which end is the better, and its network."""
    metric = METRICS[name]
    low, high = between or (None, None)
    return {
        "value": value,
        "low": low,
        "high": high,
        "better": metric.better or None,
        "network": metric.network or metric.by or None,
        **more,
    }


def of_features(
    name: str, network: str, predictions: Sequence[np.ndarray], truths: Sequence[np.ndarray], bootstrap: Bootstrap
) -> dict[str, Any]:
    """The Frechet distance of two sets of clips.

    Args:
        name: of the distance.
        network: that gave the features.
        predictions, truths: features of each clip, (windows, n), in the order of the clips.

    Returns:
        see `described`; `num_predictions` and `num_truths` are the numbers of windows.
    """
    sides = [[clip for clip in clips if len(clip)] for clips in (predictions, truths)]
    value = frechet_distance(*map(statistics_of, sides))
    between = None
    if min(*map(len, sides), bootstrap.distances) > 1:
        one, other = (np.concatenate(side) for side in sides)
        groups = [[len(clip) for clip in side] for side in sides]
        found = interval(one, other, bootstrap.distances, bootstrap.seed, bootstrap.level, groups)
        between = found.low, found.high
    counts = [sum(map(len, side)) for side in sides]
    return described(name, value, between, network=network, num_predictions=counts[0], num_truths=counts[1])


def statistics_of(clips: Sequence[np.ndarray]) -> Statistics:
    """Mean and covariance of the rows of (windows, n) features of clips, in their order, read some at a time."""
    statistics = Statistics(clips[0].shape[1])
    for clip in clips:
        statistics.add(clip)
    return statistics


def too_few(metric: Metric, counts: Mapping[str, int], clip_length: int) -> str:
    """Why a distance cannot be computed of so many windows of each side; "" if it can."""
    for side, count in counts.items():
        if count < 2:
            return (
                f"{metric.title} needs two runs of {counted(clip_length, 'frame')} or more of each side; the "
                f"{side} have {count}"
            )
    return ""
