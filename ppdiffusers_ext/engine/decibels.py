"""Ratio of signal to noise."""

import math
from collections.abc import Sequence

import numpy as np


def signal_to_noise(output: np.ndarray | Sequence[np.ndarray], truth: np.ndarray | Sequence[np.ndarray]) -> float:
    """Signal-to-noise ratio in dB: mean square of the truth over mean square of the difference.

    Args:
        output, truth: an array each, or a list of arrays, whose squares are summed; of the same shapes.
    """
    pairs = [(output, truth)] if isinstance(truth, np.ndarray) else list(zip(output, truth))
    noise, signal = (
        sum(float(np.square(f(*pair), dtype="float64").sum()) for pair in pairs) for f in (_noise, _truth)
    )
    ratio = signal / noise if noise else math.inf
    return 10 * math.log10(ratio) if ratio else -math.inf  # where the noise, too, may be infinite


def _noise(output: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return output - truth


def _truth(output: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return truth
