"""Metrics of two videos, computed frame by frame: memory does not grow with their length."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ppdiffusers_ext.metrics.frames import difference, frame_l1, frame_psnr, frame_psnr_uint8_overflow, frame_ssim

METRICS = ("psnr", "psnr_uint8_overflow", "ssim", "l1", "flicker")
_OF_FRAMES = {
    "psnr": frame_psnr,
    "psnr_uint8_overflow": frame_psnr_uint8_overflow,
    "ssim": frame_ssim,
    "l1": frame_l1,
}
# dB. The PSNR of identical frames is infinite, and would make that of the video infinite, whatever the others are
# like. DisCo's evaluation takes the same number for them. A single wrong level in a large picture would exceed it.
PSNR_CAP = 100.0


class VideoMetrics:
    """Running metrics of two videos: add their frames in order, then get the result.

    metrics = VideoMetrics()
    for prediction_frame, truth_frame in zip(prediction, truth):
        metrics.add(prediction_frame, truth_frame)
    metrics.result()["psnr"]

    Args:
        names: of those of `METRICS` that are computed.
    """

    def __init__(self, names: Sequence[str] = METRICS) -> None:
        self.num_frames = 0
        self.identical_frames = 0
        self._names = tuple(names)
        self._sums = dict.fromkeys(self._names, 0.0)
        self._difference: np.ndarray | None = None  # of the frame before

    def add(self, prediction_frame: np.ndarray, truth_frame: np.ndarray) -> dict[str, float | None]:
        """Add the next frame of both videos, (H, W, 3) uint8. Returns its metrics: a dict with the names as keys.

        psnr is math.inf for identical frames; flicker compares with the frame before, and is None for the first one.
        Raises ValueError for other shapes and types, or a size that differs from the frame before.
        """
        levels = difference(prediction_frame, truth_frame)
        if self._difference is not None and self._difference.shape != levels.shape:
            raise ValueError(
                f"frame {self.num_frames} has shape {levels.shape}, the one before {self._difference.shape}"
            )
        frame: dict[str, Any] = {
            name: self._flicker(levels) if name == "flicker" else _OF_FRAMES[name](prediction_frame, truth_frame)
            for name in self._names
        }
        for name, value in frame.items():
            self._sums[name] += min(value, PSNR_CAP) if name == "psnr" else value or 0.0
        self.num_frames += 1
        self.identical_frames += not levels.any()
        self._difference = levels
        return frame

    def _flicker(self, levels: np.ndarray) -> float | None:
        """Mean absolute difference between the changes of prediction and truth since the frame before, in levels.

        (p[t+1] - p[t]) - (q[t+1] - q[t]) = (p[t+1] - q[t+1]) - (p[t] - q[t]), so that one difference picture is all
        that has to be kept.
        """
        if self._difference is None:
            return None
        return float(np.mean(np.abs(levels - self._difference)))

    def result(self) -> dict[str, Any]:
        """Metrics of the frames so far, a dict:

        psnr, psnr_uint8_overflow: dB, mean over the frames; psnr takes PSNR_CAP for identical frames and above it.
        ssim, l1: mean over the frames.
        flicker: levels (of 255), mean over pairs of successive frames; None for a single frame.
        num_frames, identical_frames: int.

        Raises ValueError before the first frame.
        """
        if self.num_frames == 0:
            raise ValueError("no frames were added; metrics need at least one")
        counts = dict.fromkeys(METRICS, self.num_frames) | {"flicker": self.num_frames - 1}
        means = {name: self._sums[name] / counts[name] if counts[name] else None for name in self._names}
        return {**means, "num_frames": self.num_frames, "identical_frames": self.identical_frames}


def video_metrics(prediction: Iterable[np.ndarray], truth: Iterable[np.ndarray]) -> dict[str, float | int | None]:
    """`VideoMetrics.result()` of two videos: (N, H, W, 3) uint8 arrays, or iterables of (H, W, 3) frames.

    Raises ValueError where one has more frames than the other.
    """
    metrics = VideoMetrics()
    for prediction_frame, truth_frame in zip(prediction, truth, strict=True):
        metrics.add(prediction_frame, truth_frame)
    return metrics.result()


def mean_by_way(scores: list[dict], names: Sequence[str] = METRICS) -> dict[str, dict[str, float]]:
    """The mean of numbers over clips.

    Args:
        scores: list of a dict for each clip, all with the same keys: way -> name -> number.
        names: of the numbers that are wanted, of those that a way has.

    Returns:
        way -> name -> mean.
    """
    return {
        way: {name: float(np.mean([score[way][name] for score in scores])) for name in names if name in first}
        for way, first in scores[0].items()
    }
