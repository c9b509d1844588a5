"""Fréchet distance of two sets of features, as FID, FVD and FID-VID are; of any number of rows in constant memory.

Heusel et al. 2017 (arXiv:1706.08500), eq. 6: |mean_a - mean_b|^2 + trace(A + B - 2 (A B)^(1/2)), of covariances A
and B over n - 1. The trace of the root is the sum of the singular values of La^T Lb for any La La^T = A and
Lb Lb^T = B, here from eigenvectors: everything is symmetric and real, so that singular covariances (fewer rows than
features) need nothing added to their diagonals. mseitzer/pytorch-fid takes a general root of A B instead, which agrees
to 1e-4.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ppdiffusers_ext.errors import InputError, NonFiniteError

_BLOCK = 256  # rows that are added at a time, wherever calls of `add` begin and end
LEVEL = 0.95  # of an interval


class Statistics:
    """Mean and covariance of rows that come one after the other, in float64.

    Rows in the same order give the same bits, however they are divided into calls of `add`. So do the same statistics
    merged in the same order, whichever worker made them.

    Args:
        size: number of features of a row.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._count, self._mean, self._scatter = 0, np.zeros(size), np.zeros((size, size))
        self._pending = np.zeros((0, size))  # rows that do not fill a block yet

    @property
    def count(self) -> int:
        """Number of rows."""
        return self._count + len(self._pending)

    def add(self, features: np.ndarray) -> None:
        """Add rows, (N, size) of any float type.

        Raises:
            ValueError: another shape.
            NonFiniteError: a number is not finite.
        """
        if features.ndim != 2 or features.shape[1] != self.size:
            raise ValueError(f"features have shape {features.shape}; (N, {self.size}) is needed")
        for start in range(0, len(features), _BLOCK):
            rows = np.asarray(features[start : start + _BLOCK], np.float64)
            if not np.isfinite(rows).all():
                raise NonFiniteError(
                    "features have values that are not finite numbers; no distance can be made of them"
                )
            rows = np.concatenate([self._pending, rows])
            if len(rows) >= _BLOCK:
                self._take(*_moments(rows[:_BLOCK]))
                rows = rows[_BLOCK:]
            self._pending = rows.copy()

    def merge(self, other: Statistics) -> None:
        """Add the rows of other statistics, which stay as they are. Raises ValueError for those of another size."""
        if other.size != self.size:
            raise ValueError(f"statistics of {other.size} features cannot be added to those of {self.size}")
        moments = other._folded()
        self._count, self._mean, self._scatter = self._folded()
        self._pending = np.zeros((0, self.size))
        self._take(*moments)

    @property
    def mean(self) -> np.ndarray:
        """(size,) float64. Raises InputError without rows."""
        self._check(1)
        return self._folded()[1]

    @property
    def covariance(self) -> np.ndarray:
        """(size, size) float64, over one less than the rows. Raises InputError for fewer than 2 rows."""
        self._check(2)
        return self._folded()[2] / (self.count - 1)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """All there is, to go on from with the same bits: name -> array."""
        count = np.array(self._count, np.int64)
        return {"count": count, "mean": self._mean, "scatter": self._scatter, "pending": self._pending}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Statistics:
        """What `to_arrays` gave. Raises ValueError for arrays that are none of it."""
        try:
            count, mean, scatter, pending = (arrays[name] for name in ("count", "mean", "scatter", "pending"))
        except KeyError as error:
            raise ValueError(f"statistics without {error}") from error
        (size,) = mean.shape if mean.ndim == 1 else (-1,)
        if scatter.shape != (size, size) or pending.ndim != 2 or pending.shape[1] != size or count.shape != ():
            raise ValueError(
                f"statistics of shapes {mean.shape}, {scatter.shape}, {pending.shape} do not fit together"
            )
        made = cls(size)
        made._count = int(count)
        made._mean, made._scatter, made._pending = (np.array(x, np.float64) for x in (mean, scatter, pending))
        return made

    def _folded(self) -> tuple[int, np.ndarray, np.ndarray]:
        """Count, mean and scatter of all rows, those that are pending among them."""
        if not len(self._pending):
            return self._count, self._mean, self._scatter
        return _joined((self._count, self._mean, self._scatter), _moments(self._pending))

    def _take(self, count: int, mean: np.ndarray, scatter: np.ndarray) -> None:
        joined = _joined((self._count, self._mean, self._scatter), (count, mean, scatter))
        self._count, self._mean, self._scatter = joined

    def _check(self, least: int) -> None:
        if self.count < least:
            raise InputError(
                f"there {'is' if self.count == 1 else 'are'} {self.count} of {least} pictures or clips that a "
                "distribution needs at least"
            )


def _moments(rows: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    mean = rows.mean(axis=0)
    centred = rows - mean
    return len(rows), mean, centred.T @ centred


def _joined(
    a: tuple[int, np.ndarray, np.ndarray], b: tuple[int, np.ndarray, np.ndarray]
) -> tuple[int, np.ndarray, np.ndarray]:
    """Moments of the rows of both (Chan, Golub, LeVeque 1979), without sums of squares that cancel."""
    if not a[0] or not b[0]:
        return b if not a[0] else a
    count, step = a[0] + b[0], b[1] - a[1]
    scatter = a[2] + b[2] + np.outer(step, step * (a[0] * b[0] / count))
    return count, a[1] + step * (b[0] / count), scatter


def frechet_distance(a: Statistics, b: Statistics) -> float:
    """Fréchet distance of two distributions, 0 or more; 0 for the same rows, and the same both ways but for rounding.

    Raises:
        ValueError: they have another number of features.
        InputError: one has fewer than 2 rows.
    """
    if a.size != b.size:
        raise ValueError(f"statistics of {a.size} and {b.size} features have no distance")
    return distance_of_moments(a.mean, a.covariance, b.mean, b.covariance)


def distance_of_moments(
    mean_a: np.ndarray, covariance_a: np.ndarray, mean_b: np.ndarray, covariance_b: np.ndarray
) -> float:
    """As `frechet_distance`, of means (size,) and symmetric covariances (size, size) in float64."""
    if np.array_equal(mean_a, mean_b) and np.array_equal(covariance_a, covariance_b):
        return 0.0  # else a rounding error of the roots
    root = np.linalg.svd(_factor(covariance_a).T @ _factor(covariance_b), compute_uv=False).sum()
    spread = np.trace(covariance_a) + np.trace(covariance_b) - 2 * root
    return max(0.0, float(np.square(mean_a - mean_b).sum() + spread))


def _factor(covariance: np.ndarray) -> np.ndarray:
    """A matrix L of full rank with L L^T = covariance: eigenvalues that rounding alone explains count as 0."""
    values, vectors = np.linalg.eigh(covariance)
    kept = values > len(values) * np.finfo(np.float64).eps * max(values[-1], 0.0)
    return vectors[:, kept] * np.sqrt(values[kept])


@dataclass(frozen=True)
class Interval:
    """What a distance would be in other samples of the same sizes.

    Attributes:
        distance: of the samples that there are.
        low, high: bounds.
        repeats: how often was drawn.
    """

    distance: float
    low: float
    high: float
    repeats: int


def interval(
    features_a: np.ndarray,
    features_b: np.ndarray,
    repeats: int = 100,
    seed: int = 0,
    level: float = LEVEL,
    groups: Sequence[Sequence[int]] | None = None,
) -> Interval:
    """Bootstrap interval of a Fréchet distance (Efron 1979): rows are drawn anew, as many with replacement.

    Draws have the same row more than once, which makes distances of few rows larger. So the draws are moved by the
    difference of their mean to the distance itself, before the bounds are taken. That the distance of few rows is
    larger than that of many is no error of this kind: it is told by the number of rows alone.

    Args:
        features_a, features_b: (N, size), arrays in memory or `np.memmap`s, which are read in blocks.
        repeats: number of draws. One costs a distance: 0.1 s for 400 features, several for 2048 with as many rows.
        seed: of the draws.
        level: share of the draws between the bounds.
        groups: for each of the two, the lengths of successive runs of rows that are drawn together, such as the frames
            of each clip, which are not independent; each row by itself if left out.

    Raises:
        InputError: fewer than 2 rows or draws.
    """
    if repeats < 2:
        raise InputError(f"{repeats} draws of a bootstrap interval; 2 or more are accepted")
    size = features_a.shape[1]
    if len(features_a) + len(features_b) < size:
        features_a, features_b = _in_their_span(features_a, features_b)
        size = features_a.shape[1]
    generator = np.random.default_rng(seed)
    distance = frechet_distance(*(_statistics(x, size) for x in (features_a, features_b)))
    sides = list(zip((features_a, features_b), groups or ([1] * len(features_a), [1] * len(features_b))))
    draws = [
        frechet_distance(*(_statistics(x, size, _times(lengths, generator)) for x, lengths in sides))
        for _ in range(repeats)
    ]
    tails = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2]) - (np.mean(draws) - distance)
    return Interval(distance, max(0.0, float(tails[0])), float(tails[1]), repeats)


def _in_their_span(*sets: np.ndarray) -> Iterator[np.ndarray]:
    """Features by an orthonormal basis of their span: fewer numbers, of which all distances are the same."""
    basis = np.linalg.qr(np.concatenate([np.asarray(x, np.float64) for x in sets]).T)[0]  # (size, rows)
    return (np.asarray(x, np.float64) @ basis for x in sets)


def _times(lengths: Sequence[int], generator: np.random.Generator) -> np.ndarray:
    """How often each row is drawn, where runs of rows of these lengths are."""
    return np.repeat(generator.multinomial(len(lengths), np.full(len(lengths), 1 / len(lengths))), lengths)


def _statistics(features: np.ndarray, size: int, times: np.ndarray | None = None) -> Statistics:
    """Statistics of the rows, each as often as is given, or once."""
    made = Statistics(size)
    for start in range(0, len(features), _BLOCK):
        rows = features[start : start + _BLOCK]
        made.add(rows if times is None else np.repeat(rows, times[start : start + _BLOCK], axis=0))
    return made
