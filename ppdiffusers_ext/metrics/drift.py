"""Drift of a video: how its colours and its sharpness leave those of a reference picture, and how it flickers.

All frames are (H, W, 3) uint8 sRGB.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from ppdiffusers_ext.metrics.frames import check_picture

PER = 100  # frames, of slopes
LEAST = 24  # frames that a slope needs: of fewer, the motion of a moment would count as drift, many times over

_LEVELS = np.arange(256) / 255
_LINEAR = np.where(_LEVELS <= 0.04045, _LEVELS / 12.92, ((_LEVELS + 0.055) / 1.055) ** 2.4).astype(np.float32)
# IEC 61966-2-1, divided by its white, the sum of each row.
_XYZ = np.array([(0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505)])
_TO_XYZ = (_XYZ / _XYZ.sum(axis=1, keepdims=True)).astype(np.float32)


def to_lab(frame: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 sRGB -> (H, W, 3) float32 of CIELAB (D65): L* (0 to 100), a*, b*.

    Not OpenCV's: of floats it interpolates in a coarse table, half a unit off.
    """
    check_picture(frame)
    ratios = _LINEAR[frame] @ _TO_XYZ.T  # of X, Y, Z to those of white
    roots = np.where(ratios > (6 / 29) ** 3, np.cbrt(ratios), ratios * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = np.moveaxis(roots, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def mean_lab(frame: np.ndarray) -> np.ndarray:
    """The mean of `to_lab` over a frame's pixels, (3,)."""
    return to_lab(frame).reshape(-1, 3).mean(axis=0, dtype=np.float64)


def sharpness(frame: np.ndarray) -> float:
    """Variance of the Laplacian of a frame's grey levels (Pech-Pacheco et al. 2000), 0 for a flat one."""
    check_picture(frame)
    grey: Any = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    return float(np.var(np.asarray(cv2.Laplacian(grey, cv2.CV_32F)), dtype=np.float64))


def slope(values: Sequence[float | None]) -> float | None:
    """Slope of the straight line of least squares, per `PER` frames.

    None where the first and the last value span fewer than `LEAST` frames.

    values: one for each frame; those that are None are left out.
    """
    frames = np.array([i for i, value in enumerate(values) if value is not None], float)
    known = np.array([value for value in values if value is not None], float)
    if not len(frames) or frames[-1] - frames[0] + 1 < LEAST:
        return None
    frames = frames - frames.mean()
    return float(np.sum(frames * known) / np.sum(frames**2) * PER)


class Drift:
    """Drift of a video: add its frames in order, then get the result.

    reference: the picture, of the frames' size; only means of its colours and its sharpness count.
    """

    def __init__(self, reference: np.ndarray) -> None:
        self._lab, self._sharpness = mean_lab(reference), sharpness(reference)
        self._labs: list[np.ndarray] = []
        self._sharpnesses: list[float] = []
        self._flicker: list[float] = []
        self._last: list[np.ndarray] = []  # of the two frames before

    def add(self, frame: np.ndarray) -> None:
        """Add a frame. Raises ValueError for another shape or type than the one before had."""
        if self._last and frame.shape != self._last[-1].shape:
            raise ValueError(f"frame {len(self._labs)} has shape {frame.shape}, the one before {self._last[-1].shape}")
        self._labs.append(mean_lab(frame))
        self._sharpnesses.append(sharpness(frame))
        now = frame.astype(np.int16)
        if len(self._last) == 2:
            first, second = self._last
            self._flicker.append(float(np.mean(np.abs(now - 2 * second + first)) / 2))
        self._last = [*self._last[-1:], now]

    def result(self) -> dict[str, Any]:
        """Drift of the frames so far, a dict:

        colour: `delta_e`, the mean distance (CIE76) of the frames' mean colours from the reference's, and its `max`;
            `lab_per_100_frames`, slopes of L*, a* and b*; `delta_e_per_100_frames`, the length of that vector;
            `reference_lab`; `frames`: lists of `lab` and `delta_e`.
        sharpness: `mean`, relative to the reference, whose own is 1, `per_100_frames`, its slope, and `frames`; None
            where the reference is flat.
        flicker_second_difference: levels, mean of abs(p[t+1] - 2 p[t] + p[t-1]) / 2: change that goes back at once.
            None for fewer than three frames.
        """
        if not self._labs:
            raise ValueError("no frames were added; drift needs at least one")
        labs = np.stack(self._labs)
        distances = np.linalg.norm(labs - self._lab, axis=1)
        slopes = [slope(channel) for channel in labs.T.tolist()]
        known = [value for value in slopes if value is not None]
        relative = [value / self._sharpness for value in self._sharpnesses] if self._sharpness > 0 else None
        return {
            "colour": {
                "delta_e": float(distances.mean()),
                "max": float(distances.max()),
                "lab_per_100_frames": slopes,
                "delta_e_per_100_frames": float(np.linalg.norm(known)) if known else None,
                "reference_lab": self._lab.tolist(),
                "frames": {"lab": labs.tolist(), "delta_e": distances.tolist()},
            },
            "sharpness": {
                "mean": None if relative is None else float(np.mean(relative)),
                "per_100_frames": None if relative is None else slope(relative),
                "frames": relative,
            },
            "flicker_second_difference": float(np.mean(self._flicker)) if self._flicker else None,
        }
