"""Line plots and histograms as SVG, without any package: lines have gaps where there is no number.

Colours and fonts are CSS of the page around a plot, with plain ones for a plot that stands alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape

import numpy as np

Values = Sequence[float | None]

_WIDTH, _HEIGHT = 760, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 14, 30  # margins
_LEGEND = 18  # pixels that it takes above the lines
_MOST = 720  # points of a line; of a longer one means are drawn
COLORS = ("#1f77b4", "#d9730d", "#2a9d54", "#8e5bb5")


def as_text(value: object) -> str:
    """Anything as text that is no markup; letters that XML or UTF-8 cannot have are written as Python escapes them."""
    return escape("".join(letter if _is_plain(letter) else repr(letter)[1:-1] for letter in str(value)))


def _is_plain(letter: str) -> bool:
    return letter.isprintable() or letter in "\t\n" or (letter.isspace() and letter > "\x80")


def line_plot(
    label: str,
    series: Sequence[tuple[str, Values]],
    level: float | None = None,
    including: Sequence[float] = (),
    most: float = math.inf,
) -> str:
    """An `<svg>` of lines over the frames.

    Args:
        label: what is drawn, for who cannot see it.
        series: name and values of each line, all of one length; None, or what is not finite, is a gap.
        level: value of a dashed horizontal line, such as that of the reference.
        including: values that the axis shows whatever the lines are.
        most: value that none can exceed, where the axis may end.
    """
    lines = [(name, *_binned(values)) for name, values in series]
    known = [value for _, _, values in lines for value in values if value is not None]
    count = max((len(values) for _, values in series), default=0)
    top = _TOP if len(lines) < 2 else _TOP + _LEGEND
    low, high = _bounds([*known, *including, *([level] if level is not None else [])])
    ticks = _ticks(low, max(min(high, most), *known) if known else high)
    frame = _Frame(max(count - 1, 1), ticks[0], ticks[-1], top)
    parts = [
        _head(label),
        *(_tick(frame.y(tick), _number(tick)) for tick in ticks),
        *_frame_numbers(frame, count),
    ]
    if level is not None:
        parts.append(_dashed(frame.y(level)))
    for number, (name, frames, values) in enumerate(lines):
        color = COLORS[number % len(COLORS)]
        parts.append(f'<g class="line line{number % len(COLORS)}" stroke="{color}" fill="{color}">')
        parts.append(f"<title>{as_text(name)}</title>")
        parts += (_stretch(frame, stretch) for stretch in _stretches(frames, values))
        parts.append("</g>")
    if not known:
        parts.append(f'<text x="{_WIDTH / 2:g}" y="{_HEIGHT / 2:g}" text-anchor="middle">not measured</text>')
    parts += _legend([name for name, *_ in lines]) if len(lines) > 1 else []
    return "\n".join([*parts, "</svg>"])


def histogram(
    label: str,
    edges: Sequence[float],
    series: Sequence[tuple[str, Sequence[int]]],
    levels: Sequence[tuple[str, float]] = (),
) -> str:
    """An `<svg>` of counts over a value, stacked where there are several.

    Args:
        label: what is drawn, for who cannot see it.
        edges: of the bins, ascending, one more than there are bins.
        series: name and counts of each.
        levels: name and value of dashed vertical lines, such as thresholds; those out of the edges are not drawn.
    """
    most = max((sum(counts) for counts in zip(*(counts for _, counts in series))), default=0)
    ticks = [tick for tick in _ticks(0, max(most, 1)) if tick == round(tick)]
    # Of the values, in the place of frames.
    frame, low, span = _Frame(1, ticks[0], ticks[-1], _TOP + _LEGEND), edges[0], edges[-1] - edges[0]
    parts = [
        _head(label),
        *(_tick(frame.y(tick), _number(tick)) for tick in ticks),
        *(
            _below(frame.x((value - low) / span), _number(value))
            for value in _ticks(edges[0], edges[-1])
            if edges[0] <= value <= edges[-1]
        ),
    ]
    below = [0] * (len(edges) - 1)
    for number, (name, counts) in enumerate(series):
        parts.append(f'<g class="line line{number % len(COLORS)}" fill="{COLORS[number % len(COLORS)]}"><title>')
        parts.append(f"{as_text(name)}</title>")
        for i, count in enumerate(counts):
            left, right = (frame.x((edge - low) / span) for edge in edges[i : i + 2])
            top, bottom = frame.y(below[i] + count), frame.y(below[i])
            if count:
                parts.append(
                    f'<rect x="{left:.1f}" y="{top:.1f}" width="{max(right - left - 1, 1):.1f}" '
                    f'height="{max(bottom - top, 1):.1f}"/>'
                )
            below[i] += count
        parts.append("</g>")
    for name, value in levels:
        if edges[0] <= value <= edges[-1]:
            parts.append(_upright(frame.x((value - low) / span), name))
    return "\n".join([*parts, *_legend([name for name, _ in series]), "</svg>"])


def _head(label: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" class="plot" '
        f'font-size="12" fill="currentColor" stroke="none"><title>{as_text(label)}</title>'
    )


def _upright(x: float, name: str) -> str:
    """A dashed vertical line with its name above it, within the picture."""
    anchor = "end" if x > _WIDTH / 2 else "start"
    return (
        f'<line class="level" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP + _LEGEND}" y2="{_HEIGHT - _BOTTOM}" '
        'stroke="currentColor" stroke-dasharray="5 4"/>'
        f'<text x="{x + (-5 if anchor == "end" else 5):.1f}" y="{_TOP + _LEGEND + 10}" text-anchor="{anchor}">'
        f"{as_text(name)}</text>"
    )


class _Frame:
    """Where values lie in the picture."""

    def __init__(self, last: int, low: float, high: float, top: float) -> None:
        self.last, self._low, self._span, self._top = last, low, high - low, top

    def x(self, number: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * number / self.last

    def y(self, value: float) -> float:
        return self._top + (_HEIGHT - self._top - _BOTTOM) * (1 - (value - self._low) / self._span)


def _binned(values: Values) -> tuple[list[float], list[float | None]]:
    """Numbers of frames and values, means of several frames where there are too many."""
    size = max(1, math.ceil(len(values) / _MOST))
    frames: list[float] = []
    means: list[float | None] = []
    for start in range(0, len(values), size):
        part = [value for value in values[start : start + size] if value is not None and math.isfinite(value)]
        frames.append(start + (min(size, len(values) - start) - 1) / 2)
        means.append(sum(part) / len(part) if part else None)
    return frames, means


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    """The least and the greatest of some values, apart from each other; below 0 only if one of them is."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    margin = max((high - low) * 0.05, abs(high) * 1e-3, 1e-6)
    return low - margin if low < 0 else max(low - margin, 0.0), high + margin


def _ticks(low: float, high: float) -> list[float]:
    """Three to seven round numbers, the first below and the last above the bounds."""
    rough = (high - low) / 4
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
    return [float(tick) * step for tick in np.arange(math.floor(low / step), math.ceil(high / step) + 1)]


def _number(value: float) -> str:
    return f"{value:.4g}" if abs(value) > 1e-9 else "0"


def _tick(y: float, text: str) -> str:
    line = f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="currentColor" '
    return f'{line}stroke-opacity="0.18"/><text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'


def _frame_numbers(frame: _Frame, count: int) -> Iterator[str]:
    """Numbers of some frames, the first and the last among them, below the plot."""
    for number in sorted({round(i) for i in np.linspace(0, max(count - 1, 0), 6)}):
        yield _below(frame.x(number), str(number))


def _below(x: float, text: str) -> str:
    return f'<text x="{x:.1f}" y="{_HEIGHT - 10}" text-anchor="middle">{text}</text>'


def _dashed(y: float) -> str:
    return (
        f'<line class="level" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="currentColor" '
        'stroke-dasharray="5 4" stroke-opacity="0.6"/>'
    )


def _stretches(frames: Sequence[float], values: Values) -> Iterator[list[tuple[float, float]]]:
    """(frame, value) of frames without a gap between them."""
    stretch: list[tuple[float, float]] = []
    for number, value in zip(frames, values):
        if value is not None:
            stretch.append((number, value))
        elif stretch:
            yield stretch
            stretch = []
    if stretch:
        yield stretch


def _stretch(frame: _Frame, stretch: Sequence[tuple[float, float]]) -> str:
    points = [(frame.x(number), frame.y(value)) for number, value in stretch]
    if len(points) == 1:  # a line of one point cannot be seen
        return f'<circle cx="{points[0][0]:.1f}" cy="{points[0][1]:.1f}" r="2.5" stroke="none"/>'
    text = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{text}" fill="none" stroke-width="1.8" stroke-linejoin="round"/>'


def _legend(names: Sequence[str]) -> list[str]:
    parts, x = [], float(_LEFT + 8)
    for number, name in enumerate(names):
        color = COLORS[number % len(COLORS)]
        parts.append(
            f'<rect class="line{number % len(COLORS)}" x="{x:.0f}" y="{_TOP - 4}" width="14" height="4" '
            f'fill="{color}"/><text x="{x + 19:.0f}" y="{_TOP + 3}">{as_text(name)}</text>'
        )
        x += 34 + 7 * len(name)
    return parts
