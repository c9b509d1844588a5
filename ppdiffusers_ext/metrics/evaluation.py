"""Comparison of pairs of clips: checks, then the metrics of each pair."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from tqdm import tqdm

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.metrics.frames import MIN_SIDE
from ppdiffusers_ext.metrics.video import VideoMetrics

if TYPE_CHECKING:
    from ppdiffusers_ext.metrics.sources import Clip, Pair


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PairResult:
    """Metrics of one pair.

    name: of the pair in a table. scores: `VideoMetrics.result()`. frames: what `VideoMetrics.add` returned for
    each frame. prediction, truth: paths. width, height: pixels at which the two were compared. resized_from: width
    and height of the prediction where it was resized, else None.
    """

    name: str
    scores: dict
    frames: tuple
    prediction: str
    truth: str
    width: int
    height: int
    resized_from: tuple | None = None


def check_pair(pair: Pair, length: int | None = None, resize: bool = False) -> None:
    """Raise InputError if the clips of a `Pair` cannot be compared. Cheap, so all pairs can be checked first.

    Args:
        length: number of frames to compare from the beginning; None for all, which must be equally many in both.
        resize: True if the prediction is resized to the size of the truth.
    """
    prediction, truth = pair.prediction, pair.truth
    counts = f"{prediction.path} has {prediction.num_frames} frames, {truth.path} {truth.num_frames}"
    least = min(prediction.num_frames, truth.num_frames)
    if length is None and prediction.num_frames != truth.num_frames:
        raise InputError(f"{counts}; the same number is accepted, or --length {least} to compare only the first")
    if length is not None and not 1 <= length <= least:
        raise InputError(f"cannot compare the first {length} frames: {counts}; 1 to {least} are accepted")
    if not resize and _size(prediction) != _size(truth):
        sizes = "{} has {}x{} pixels, {} {}x{}".format(prediction.path, *_size(prediction), truth.path, *_size(truth))
        raise InputError(f"{sizes}; the same size is accepted, or --resize to bring the first to that of the second")
    if min(_size(truth)) < MIN_SIDE:
        size = "{}x{} pixels".format(*_size(truth))
        raise InputError(f"{truth.path} has {size}, too small for SSIM; at least {MIN_SIDE}x{MIN_SIDE} is accepted")


def evaluate_pair(pair: Pair, length: int | None = None, resize: bool = False) -> PairResult:
    """Compare the clips of a `Pair` frame by frame, in order, and return a `PairResult`. Frame rates are ignored.

    Args:
        length, resize: see `check_pair`. Resizing is Pillow's bicubic; the aspect ratio is not kept.

    Raises:
        InputError: the clips cannot be compared, or a frame cannot be read.
    """
    check_pair(pair, length, resize)
    size = _size(pair.truth)
    resized_from = _size(pair.prediction) if _size(pair.prediction) != size else None
    if resized_from:
        sizes = "from {}x{} to {}x{}".format(*resized_from, *size)
        logger.info("%s is resized %s (bicubic) for the comparison", pair.prediction.path, sizes)
    metrics, frames = VideoMetrics(), []
    streams = zip(pair.prediction.frames(length), pair.truth.frames(length), strict=True)
    total = length or pair.truth.num_frames
    for prediction, truth in tqdm(streams, desc=pair.name, total=total, leave=False, disable=None):
        if resized_from:
            prediction = np.asarray(Image.fromarray(prediction).resize(size, Image.Resampling.BICUBIC))
        frames.append(metrics.add(prediction, truth))
    paths = str(pair.prediction.path), str(pair.truth.path)
    width, height = size
    return PairResult(pair.name, metrics.result(), tuple(frames), *paths, width, height, resized_from)


def _size(clip: Clip) -> tuple[int, int]:
    return clip.width, clip.height
