"""Colours that stay those of a reference picture over a long video.

The mean of each channel in CIE Lab is brought to the reference's, and its deviation to that of the first frames
(Reinhard et al. 2001, "Color Transfer between Images"), as MultiTalk corrects colours between the parts of a long
video (`color_correction_strength`). What is measured is a running mean over `SPAN` frames, not each frame by itself:
so light and motion of single frames stay, and no flicker is added. The deviation is not brought to the reference's:
where a model makes softer pictures, more contrast would be more flicker.
"""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np

SPAN = 24  # frames of the running mean
_MOST_GAIN = 1.25  # by which a deviation is changed, either way: a plain background has hardly any


class ColourAnchor:
    """Brings the frames of one video, one after the other, to the colours of a reference.

    Args:
        strength: from 0, which leaves frames as they are, to 1 for all the way.
        reference: (H, W, 3) uint8 of sRGB; the mean of the first `SPAN` frames, which stay as they are, if left out.
    """

    def __init__(self, strength: float, reference: np.ndarray | None = None) -> None:
        self._strength = strength
        self._mean = None if reference is None else _statistics(to_lab(reference))[0]  # that is wanted
        self._deviation: np.ndarray | None = None
        self._running: np.ndarray | None = None  # (2, 3): mean and deviation of the last frames
        self._count = 0

    def correct(self, frame: np.ndarray) -> np.ndarray:
        """The next frame, (H, W, 3) uint8 of sRGB -> the same, corrected."""
        if not self._strength:
            return frame
        lab = to_lab(frame)
        self._count += 1
        share = 1 / min(self._count, SPAN)
        found = _statistics(lab)
        self._running = found if self._running is None else self._running + share * (found - self._running)
        if self._count == SPAN:
            self._mean = self._running[0] if self._mean is None else self._mean
            self._deviation = self._running[1]
        if self._mean is None:
            return frame
        mean, deviation = self._running
        wanted = deviation if self._deviation is None else self._deviation
        gain = np.clip(wanted / np.maximum(deviation, 1e-3), 1 / _MOST_GAIN, _MOST_GAIN)
        gain = 1 + self._strength * (gain - 1)
        # Around the frame's own mean: what this does from frame to frame becomes neither more nor less.
        moved = found[0] + self._strength * (self._mean - mean)
        return to_rgb(((lab - found[0]) * gain + moved).astype(np.float32))

    def correct_all(self, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """As `correct`, of one frame after the other."""
        return map(self.correct, frames)


def to_lab(frame: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 of sRGB -> CIE Lab in float32: L from 0 to 100."""
    return cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)


def to_rgb(lab: np.ndarray) -> np.ndarray:
    """The inverse of `to_lab`; colours that sRGB has not are clipped."""
    return (cv2.cvtColor(lab, cv2.COLOR_LAB2RGB) * 255).round().clip(0, 255).astype(np.uint8)


def _statistics(lab: np.ndarray) -> np.ndarray:
    """(2, 3): mean and deviation of each channel."""
    pixels = lab.reshape(-1, 3).astype(np.float64)
    return np.stack([pixels.mean(axis=0), pixels.std(axis=0)])
