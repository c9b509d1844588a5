"""Metrics of two pictures by name, in the forms that papers' evaluations compute them in.

Names without a prefix are this project's (`frames`). Those of `disco_` are Wangt-CN/DisCo's evaluation (c4fa48a,
tool/metrics/ssim_l1_lpips_psnr.py), which later work on human dance reuses; those of `common_` are
JunyaoHu/common_metrics_on_video_quality (5f75173); the others are scikit-image's.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np

from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.metrics.frames import (
    check_picture,
    difference,
    frame_l1,
    frame_psnr,
    frame_psnr_uint8_overflow,
    frame_ssim,
    structural_similarity,
)

_MOST_PSNR = 100.0  # of identical pictures, in DisCo and common_metrics_on_video_quality


@dataclass(frozen=True)
class PixelMetric:
    """A metric of two pictures.

    Attributes:
        name: key in `PIXELS`.
        compute: of (generated, truth), (H, W, 3) uint8 of one size.
        resizes: whether a generated picture of another size is resized to the truth's, as DisCo does.
        higher_is_better: False for distances.
    """

    name: str
    compute: Callable[[np.ndarray, np.ndarray], float]
    resizes: bool
    higher_is_better: bool

    def __call__(self, generated: np.ndarray, truth: np.ndarray) -> float:
        """The metric of two (H, W, 3) uint8 pictures. Raises ValueError for others, or sizes that differ."""
        return self.compute(resize_to(generated, truth) if self.resizes else generated, truth)


def pixel_metric(name: str) -> PixelMetric:
    """The metric of a name. Raises InputError for one that is not known."""
    if name not in PIXELS:
        raise InputError(f"metric {shown(name)} of pixels is not known; {', '.join(PIXELS)} are")
    return PIXELS[name]


def resize_to(generated: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """A picture in the size of another, bilinear and rounded as OpenCV does it, without smoothing where it shrinks."""
    for name, picture in (("prediction", generated), ("truth", truth)):
        check_picture(picture, name)
    if generated.shape == truth.shape:
        return generated
    resized: Any = cv2.resize(generated, (truth.shape[1], truth.shape[0]))
    return np.asarray(resized)


def grey(picture: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB -> (H, W) uint8, 0.299 R + 0.587 G + 0.114 B in OpenCV's fixed-point rounding."""
    check_picture(picture)
    converted: Any = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return np.asarray(converted)


def _grey_ssim(generated: np.ndarray, truth: np.ndarray, uniform: bool) -> float:
    difference(generated, truth)  # of one shape
    return structural_similarity(grey(generated)[None], grey(truth)[None], uniform)


def _uniform_ssim(generated: np.ndarray, truth: np.ndarray) -> float:
    difference(generated, truth)
    x, y = (np.moveaxis(picture, 2, 0) for picture in (generated, truth))
    return structural_similarity(x, y, uniform=True)


def _psnr_up_to_100(generated: np.ndarray, truth: np.ndarray) -> float:
    found = frame_psnr(generated, truth)
    return found if math.isfinite(found) else _MOST_PSNR


def _mae_255(generated: np.ndarray, truth: np.ndarray) -> float:
    return 255 * frame_l1(generated, truth)


def _l1_by_area(generated: np.ndarray, truth: np.ndarray) -> float:
    """Mean of |difference| in levels, over height x width: larger pictures have less, for the same errors."""
    return _mae_255(generated, truth) / (truth.shape[0] * truth.shape[1])


PIXELS = {
    metric.name: metric
    for metric in (
        PixelMetric("ssim", frame_ssim, False, True),
        PixelMetric("psnr", frame_psnr, False, True),
        PixelMetric("l1", frame_l1, False, False),
        PixelMetric("psnr_uint8_overflow", frame_psnr_uint8_overflow, False, True),
        PixelMetric("mae_255", _mae_255, False, False),
        PixelMetric("ssim_color", _uniform_ssim, False, True),
        PixelMetric("ssim_gauss_gray", partial(_grey_ssim, uniform=False), False, True),
        PixelMetric("disco_ssim", partial(_grey_ssim, uniform=True), True, True),
        PixelMetric("disco_psnr", _psnr_up_to_100, True, True),
        PixelMetric("disco_psnr_overflow", frame_psnr_uint8_overflow, True, True),
        PixelMetric("disco_l1", _l1_by_area, True, False),
        # Of values from 0 to 1, with constants that are smaller by as much: the same number.
        PixelMetric("common_ssim", frame_ssim, False, True),
        PixelMetric("common_psnr", _psnr_up_to_100, False, True),
    )
}
