"""Histograms of scores whose range nobody knows before: exact counts in a bounded number of bins."""

import math
from collections.abc import Sequence

_FINEST = 1e-5  # scores have five decimals
_MOST = 512  # bins
_SHOWN = 40
_NARROWEST = 0.05  # what is shown, as a part of the scores, so that the numbers of an axis differ
_FAR = 3  # times the range of the scores, from which on a value is far from them
_TAIL = 0.005  # share of the scores at each end that may lie beyond what is shown


class Histogram:
    """Counts of several series of numbers in the same bins, which become twice as wide when they are too many.

    Args:
        series: number of them.
    """

    def __init__(self, series: int) -> None:
        self._series, self._width = series, _FINEST
        self._counts: dict[int, list[int]] = {}

    def add(self, series: int, value: float) -> None:
        """Count a finite number."""
        while abs(value) / self._width > 2**52:
            self._widen()
        self._counts.setdefault(math.floor(value / self._width + 1e-9), [0] * self._series)[series] += 1
        while len(self._counts) > _MOST:
            self._widen()

    def _widen(self) -> None:
        merged: dict[int, list[int]] = {}
        for index, counts in self._counts.items():
            into = merged.setdefault(index >> 1, [0] * self._series)
            for number, count in enumerate(counts):
                into[number] += count
        self._counts, self._width = merged, 2 * self._width

    @property
    def total(self) -> int:
        """Numbers that were counted."""
        return sum(map(sum, self._counts.values()))

    def binned(self, including: Sequence[float] = ()) -> tuple[list[float], list[list[int]]]:
        """Edges of at most 40 bins, and the counts of each series in them; the bins at the ends have what lies beyond.

        Args:
            including: values that shall lie between the edges, too; those that are far from the numbers do not.
        """
        low, high = self._range()
        least = max(2 * self._width, _NARROWEST * max(abs(low), abs(high)))
        if high - low < least:
            low, high = low - least / 2, high + least / 2
        reach = _FAR * (high - low)
        near = [value for value in including if low - reach <= value <= high + reach]
        low, high = min(low, *near, high), max(high, *near, low)
        step = (high - low) / _SHOWN
        edges = [low + step * number for number in range(_SHOWN)] + [high]
        counts = [[0] * _SHOWN for _ in range(self._series)]
        for index, each in self._counts.items():
            place = min(max(int(((index + 0.5) * self._width - low) / step), 0), _SHOWN - 1)
            for number, count in enumerate(each):
                counts[number][place] += count
        return edges, counts

    def _range(self) -> tuple[float, float]:
        """Edges between which all scores lie but for the tails."""
        left_out, seen = self.total * _TAIL, 0
        low = high = 0.0
        for index in sorted(self._counts):
            count = sum(self._counts[index])
            if seen <= left_out:
                low = index * self._width
            if seen < self.total - left_out:
                high = (index + 1) * self._width
            seen += count
        return low, high
