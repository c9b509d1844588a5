"""Metrics of two pictures: PSNR, SSIM and L1 as the field defines them, and some papers' PSNR with overflow.

All functions take a prediction and the truth, (H, W, 3) uint8 arrays of one shape, and are symmetric in them. They
raise ValueError for other shapes and types.
"""

import math

import numpy as np
from scipy.ndimage import gaussian_filter, uniform_filter

# Wang, Bovik, Sheikh, Simoncelli: Image Quality Assessment, 2004: a Gaussian of 1.5 pixels, cut off to 11x11.
_SIGMA, _RADIUS = 1.5, 5
_UNIFORM = 7  # pixels of a side of the square window
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
MIN_SIDE = 2 * _RADIUS + 1  # pixels; below, SSIM's window does not fit into the picture


def frame_psnr(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB, 10 log10(255^2 / mean squared error); math.inf for identical pictures."""
    error = np.mean(np.square(difference(prediction, truth), dtype=np.float64))
    return 10 * math.log10(255**2 / error) if error else math.inf


def frame_psnr_uint8_overflow(prediction: np.ndarray, truth: np.ndarray) -> float:
    """PSNR in dB as DisCo's evaluation computes it: incorrect, only for comparison with tables made in this way.

    The difference is taken and squared in uint8, so that every squared error is reduced modulo 256: a difference of
    16 levels counts as none. Large errors vanish: the result is never below 24.17 dB, because no square is more than
    249 modulo 256, and two pictures of noise have about 28 dB. The result is 100 if all squares vanish.

    Source: `psnr_eval` in tool/metrics/ssim_l1_lpips_psnr.py of Wangt-CN/DisCo, which later work on human dance
    evaluated with; DisCo's issue 86 describes the error.
    """
    _check(prediction, truth)
    error = np.mean(np.square(np.subtract(prediction, truth, dtype=np.uint8), dtype=np.uint8))
    return 20 * math.log10(255 / math.sqrt(error)) if error else 100.0


def frame_ssim(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Structural similarity, at most 1 (identical pictures), as Wang et al. (2004): mean over pixels and R, G, B.

    Equal to skimage.metrics.structural_similarity(prediction, truth, gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False, data_range=255, channel_axis=-1), which also leaves out a border of 5 pixels, where
    the window does not fit. Raises ValueError for sides below MIN_SIDE.
    """
    _check(prediction, truth)
    x, y = (np.moveaxis(picture, 2, 0) for picture in (prediction, truth))  # (3, H, W)
    return structural_similarity(x, y)


def structural_similarity(x: np.ndarray, y: np.ndarray, uniform: bool = False) -> float:
    """SSIM of channels: the mean over channels and pixels without a border, where the window does not fit.

    Args:
        x, y: (C, H, W) uint8 of one shape.
        uniform: False for the Gaussian window of Wang et al.; True for what skimage.metrics.structural_similarity has
            by default: a square window of 7x7 pixels, and covariances of samples, over n - 1 of its n pixels.

    Raises:
        ValueError: a side is smaller than the window.
    """
    blur, radius, of_samples = (_average, _UNIFORM // 2, _UNIFORM**2 / (_UNIFORM**2 - 1)) if uniform else (
        _blur, _RADIUS, 1.0)  # fmt: skip
    if min(x.shape[1:]) < 2 * radius + 1:
        raise ValueError(
            f"pictures have {x.shape[1]} rows of {x.shape[2]} pixels, SSIM needs sides of {2 * radius + 1} pixels or "
            "more"
        )
    x, y = (channels.astype(np.float64, order="C") for channels in (x, y))
    mean_x, mean_y = blur(x), blur(y)
    product, squares = mean_x * mean_y, mean_x**2 + mean_y**2
    covariance = of_samples * (blur(x * y) - product)
    variances = of_samples * (blur(x**2 + y**2) - squares)  # of both together: they occur only as a sum
    similarity = (2 * product + _C1) * (2 * covariance + _C2) / ((squares + _C1) * (variances + _C2))
    return float(np.mean(similarity[:, radius:-radius, radius:-radius]))


def frame_l1(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Mean absolute error of values in [0, 1]: 0 for identical pictures, 1 for black against white."""
    return float(np.mean(np.abs(difference(prediction, truth)))) / 255


def difference(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """prediction - truth in levels, -255 to 255: an (H, W, 3) int16 array."""
    _check(prediction, truth)
    return np.subtract(prediction, truth, dtype=np.int16)


def _blur(values: np.ndarray) -> np.ndarray:
    """Each channel of (3, H, W) float64 values averaged under the window."""
    return gaussian_filter(values, (0, _SIGMA, _SIGMA), truncate=_RADIUS / _SIGMA)


def _average(values: np.ndarray) -> np.ndarray:
    """As `_blur`, under the square window."""
    return uniform_filter(values, (0, _UNIFORM, _UNIFORM))


def check_picture(picture: np.ndarray, name: str = "frame") -> None:
    """Raises ValueError for what is no (H, W, 3) uint8 array."""
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or picture.size == 0:
        raise ValueError(f"the {name} has shape {picture.shape} and type {picture.dtype}, not (H, W, 3) and uint8")


def _check(prediction: np.ndarray, truth: np.ndarray) -> None:
    for name, picture in (("prediction", prediction), ("truth", truth)):
        check_picture(picture, name)
    if prediction.shape != truth.shape:
        raise ValueError(f"the prediction has shape {prediction.shape}, the truth {truth.shape}; they must be one")
