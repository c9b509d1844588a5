"""What a linear code of a picture's patches loses: a scale to hold an autoencoder's error against.

The principal components of patches (Pearson 1901, "On lines and planes of closest fit to systems of points in space")
are the best that any linear encoder and decoder of single patches can do with as many numbers.
"""

from collections.abc import Sequence

import numpy as np


def linear_psnr(known: np.ndarray, unseen: np.ndarray, side: int, counts: Sequence[int]) -> list[float]:
    """The mean PSNR in dB of unseen frames whose patches are told by a few numbers each.

    Args:
        known: frames that the components are of: (n, height, width, 3) uint8.
        unseen: frames that are measured, of the same size.
        side: pixels of a square patch; height and width are multiples of it.
        counts: numbers of a patch, up to 3 * side^2.

    Returns:
        dB for each of `counts`, infinite where nothing is lost.

    Raises:
        ValueError: no frames, or sizes and counts that do not fit.
    """
    most = 3 * side * side
    if not len(known) or not len(unseen) or not all(1 <= count <= most for count in counts):
        raise ValueError(f"frames are needed, and counts of 1 to {most}, not {list(counts)}")
    patches = _patches(known, side)
    mean = patches.mean(0)
    components = np.linalg.eigh(np.cov((patches - mean).T))[1][:, ::-1]  # the strongest first
    centred = _patches(unseen, side) - mean
    decibels = []
    for count in counts:
        chosen = components[:, :count]
        lost = centred - (centred @ chosen) @ chosen.T
        errors = np.square(lost).reshape(len(unseen), -1).mean(1)  # of frames
        with np.errstate(divide="ignore"):
            decibels.append(float(np.mean(-10 * np.log10(np.where(errors < _EXACT, 0, errors)))))
    return decibels


_EXACT = 1e-12  # mean squared error that is rounding alone


def _patches(frames: np.ndarray, side: int) -> np.ndarray:
    """(n, height, width, 3) uint8 -> (n * patches, side * side * 3) in [0, 1]."""
    count, height, width, channels = frames.shape
    if height % side or width % side:
        raise ValueError(f"{width}x{height} pixels are no whole number of patches of {side}x{side}")
    grid = frames.reshape(count, height // side, side, width // side, side, channels).transpose(0, 1, 3, 2, 4, 5)
    return grid.reshape(-1, side * side * channels).astype(np.float64) / 255
