"""When the frames of a video are shown, and how many a second that makes: from the times of its packets.

What a file says about its rate is believed only where the times agree: recorders of browsers say 1,000, a cover
picture 90,000, and a video with frames left out the average.
"""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from ppdiffusers_ext.errors import InputError

MOST_FPS = 480
DEFAULT_FPS = Fraction(25)  # of a single picture that does not say how long it is shown; as FFmpeg assumes
_MOST_PAUSE = 600  # seconds that one frame may be shown
_COMMON = tuple(
    Fraction(rate)
    for rate in (30, 25, 24, Fraction(30000, 1001), Fraction(24000, 1001), 60, 50, Fraction(60000, 1001), 15, 20, 10)
    + (12, 48, 120, 90, 100, 240, 8, 16, 5)
)
_ROUNDING = 1 + 1e-6  # ticks between the errors of two times that were rounded
_SNAP = 0.02  # by which the rate of uneven times may differ from a common one


@dataclass(frozen=True)
class Timing:
    """Times of frames.

    Attributes:
        times: seconds at which each frame begins to be shown, from the first one on.
        duration: seconds from the first frame to the end of the last.
        fps: frames a second, exact where they are even. Of uneven ones, the rate of most of them (the usual distance
            from one to the next, not the average, in which pauses count): what is made at this rate shows each frame
            when the file does, some of them several times, and lasts as long.
        is_even: whether the times are those of a constant rate, rounded to the file's unit.
    """

    times: tuple
    duration: float
    fps: Fraction
    is_even: bool


def measure(ticks: Sequence[int], unit: Fraction, last: int, claimed: Any, path: str | os.PathLike) -> Timing:
    """The `Timing` of frames.

    Args:
        ticks: whole numbers, sorted: when each begins.
        unit: seconds of a tick, a Fraction.
        last: ticks that the last one lasts, 0 or None where the file does not say.
        claimed: rates that the file claims, the most trustworthy first; None among them is passed over.
        path: of the file, for messages.

    Raises:
        InputError: the times are not those of a video.
    """
    claimed = [Fraction(rate) for rate in claimed if rate and 0 < rate <= MOST_FPS]
    if len(ticks) == 1:
        fps = _rate_of_one(last, unit, claimed)
        return Timing((0.0,), float(1 / fps), fps, True)
    steps = np.diff(np.array([tick - ticks[0] for tick in ticks], np.float64))
    if not steps.any():
        raise InputError(f"{path} does not say when its frames are shown; a video with times is accepted")
    if steps.max() * float(unit) > _MOST_PAUSE:
        raise InputError(
            f"{path} shows a frame for {steps.max() * float(unit):.0f} seconds; up to {_MOST_PAUSE} are accepted"
        )
    even = _even_rate(ticks, steps, unit, claimed)
    is_even = even is not None
    fps = even or _usual_rate(steps, unit)
    if fps > MOST_FPS:
        raise InputError(f"{path} has {float(fps):.0f} frames a second; up to {MOST_FPS} are accepted")
    if is_even:
        return Timing(tuple(float(i / fps) for i in range(len(ticks))), float(len(ticks) / fps), fps, True)
    times = tuple(float((tick - ticks[0]) * unit) for tick in ticks)
    # A stream without lengths has FFmpeg guess them from the claimed rate, which is wrong where the times are uneven.
    length = float((last or 0) * unit)
    length = length if 0.5 / fps < length <= _MOST_PAUSE else float(1 / fps)
    return Timing(times, times[-1] + length, fps, False)


def _rate_of_one(last: int, unit: Fraction, claimed: Sequence[Fraction]) -> Fraction:
    """The rate of a single picture: how long it is shown, where that is plausible."""
    length = Fraction(last or 0) * unit
    told = [1 / length] if length else []
    return next((rate for rate in [*claimed, *told] if Fraction(1, _MOST_PAUSE) <= rate <= MOST_FPS), DEFAULT_FPS)


def _even_rate(
    ticks: Sequence[int], steps: np.ndarray, unit: Fraction, claimed: Sequence[Fraction]
) -> Fraction | None:
    """The constant rate whose times, rounded to ticks, these are; None if there is none."""
    offsets, numbers = np.concatenate([[0.0], np.cumsum(steps)]), np.arange(len(steps) + 1)

    def spread(step: float) -> float:
        """By how many ticks the times differ from even ones, at most, between one frame and another."""
        errors = offsets - numbers * step
        return errors.max() - errors.min()

    exact = [1 / (Fraction(int(steps[0])) * unit)] if steps.min() == steps.max() else []
    for rate in [*claimed, *exact, *_COMMON]:
        if spread(float(1 / (rate * unit))) <= _ROUNDING:
            return rate
    # The spread is a convex function of the step, so that the steps that fit lie around the one that fits best.
    mean = offsets[-1] / len(steps)
    low, high = max(mean / 2, mean - 2 / len(steps)), mean + 2 / len(steps)
    best = _lowest(spread, low, high)
    if spread(best) > _ROUNDING:
        return None
    shortest, longest = (_edge(lambda step: spread(step) <= _ROUNDING, best, end) for end in (low, high))
    return _simplest(1 / (Fraction(longest) * unit), 1 / (Fraction(shortest) * unit))


def _lowest(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a convex function has its lowest value."""
    for _ in range(60):
        third = (high - low) / 3
        if function(low + third) < function(high - third):
            high -= third
        else:
            low += third
    return (low + high) / 2


def _edge(holds: Callable[[float], bool], inside: float, outside: float) -> float:
    """The last point, from one where a condition holds towards another, where it does."""
    for _ in range(40):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if holds(middle) else (inside, middle)
    return inside


def _simplest(low: Fraction, high: Fraction) -> Fraction:
    """The fraction of the smallest denominator between two others."""
    whole = math.floor(low)
    if whole == low or whole + 1 <= high:
        return Fraction(whole if whole == low else whole + 1)
    return whole + 1 / _simplest(1 / (high - whole), 1 / (low - whole))


def _usual_rate(steps: np.ndarray, unit: Fraction) -> Fraction:
    """The rate of most frames of uneven times, a common one where it is near."""
    steps = steps[steps > 0]
    median = np.median(steps)
    usual = steps[(steps > median / 2) & (steps < median * 1.5)]
    rates = [1 / (Fraction(float(step)) * unit) for step in (usual.mean() if len(usual) else median, steps.mean())]
    rate = next((rate for rate in rates if rate <= MOST_FPS), rates[-1])
    nearest = min(_COMMON, key=lambda common: abs(common / rate - 1))
    return nearest if abs(nearest / rate - 1) <= _SNAP else rate.limit_denominator(1001)
