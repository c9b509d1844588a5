"""Linear codes of patches: nothing is lost of what has few dimensions, and what is lost is what a projection loses."""

import numpy as np
import pytest

from ppdiffusers_ext.metrics.linear_codes import linear_psnr


def frames_of(seed, count=3, side=4, dimensions=None):
    """Frames (count, 16, 24, 3) of random patches, or of patches that differ in so many directions alone."""
    rng = np.random.default_rng(seed)
    patches = count * 16 * 24 // side**2
    if dimensions is None:
        values = rng.integers(0, 256, (patches, 3 * side * side))
    else:
        directions = np.random.default_rng(0).integers(0, 2, (dimensions, 3 * side * side))
        values = rng.integers(0, 255 // dimensions, (patches, dimensions)) @ directions
    grid = values.reshape(count, 16 // side, 24 // side, side, side, 3).transpose(0, 1, 3, 2, 4, 5)
    return grid.reshape(count, 16, 24, 3).astype(np.uint8)


def test_frames_of_few_dimensions_are_told_by_as_many_numbers():
    known, unseen = frames_of(1, dimensions=3), frames_of(2, dimensions=3)
    less, exact, more = linear_psnr(known, unseen, 4, [2, 3, 5])
    assert 10 < less < 60
    assert exact == more == np.inf


def test_all_numbers_lose_nothing_and_more_lose_less():
    known, unseen = frames_of(1, count=6), frames_of(2)
    decibels = linear_psnr(known, unseen, 4, [1, 6, 12, 24, 48])
    assert decibels[-1] == np.inf
    assert decibels[:-1] == sorted(decibels[:-1])


def test_error_is_the_mean_of_frames_and_that_of_what_was_not_known():
    known = np.zeros((1, 8, 8, 3), np.uint8)
    known[:, ::2] = 200  # stripes, in one direction
    known[0, :4] //= 2
    unseen = np.stack([known[0], known[0]])
    unseen[1, :, :, 0] = 255 - unseen[1, :, :, 0]  # whose red is in none
    (decibel,) = linear_psnr(known, unseen, 4, [1])
    assert decibel == np.inf  # the first frame is exact, and the mean of decibels so
    (decibel,) = linear_psnr(known, unseen[1:], 4, [1])
    patch = known[0, :4, :4].reshape(-1) / 255.0, known[0, 4:, :4].reshape(-1) / 255.0
    direction = (patch[1] - patch[0]) / np.linalg.norm(patch[1] - patch[0])
    mean, errors = (patch[0] + patch[1]) / 2, []
    for top in (0, 4):
        for left in (0, 4):
            rest = unseen[1, top : top + 4, left : left + 4].reshape(-1) / 255.0 - mean
            errors.append(np.square(rest - direction * (rest @ direction)).mean())
    assert decibel == pytest.approx(-10 * np.log10(np.mean(errors)))


@pytest.mark.parametrize(
    ("known", "unseen", "side", "counts"),
    [
        (0, 1, 4, [1]),
        (1, 0, 4, [1]),
        (1, 1, 4, [0]),
        (1, 1, 4, [49]),
        (1, 1, 5, [1]),
    ],
)
def test_what_does_not_fit_is_refused(known, unseen, side, counts):
    with pytest.raises(ValueError, match=r"frames are needed|no whole number"):
        linear_psnr(frames_of(1)[:known], frames_of(2)[:unseen], side, counts)
