"""Which clips are kept: thresholds of columns, and what a row lacks to pass them.

The original subtracts the clips that have a bad score (aigc-apps/EasyAnimate, `easyanimate/video_caption/utils/
filter.py`), so that those without a score pass. Here a clip passes only with a passing score of every step;
`as_original` is the original's way.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ppdiffusers_ext.data.chain.steps import Row
from ppdiffusers_ext.errors import InputError, check_keys, shown
from ppdiffusers_ext.options import any_of, check_number

REDUCERS = {"mean": lambda values: sum(values) / len(values), "min": min, "max": max}


@dataclass(frozen=True)
class Bounds:
    """What a column is to be between; both bounds pass.

    Attributes:
        min, max: None for none.
        reduce: of the numbers of a list, which one counts: "mean", "min" or "max".
    """

    min: float | None = None
    max: float | None = None
    reduce: str = "mean"


def bounds_of(values: Any, where: str) -> Bounds:
    """The `Bounds` of a mapping of a file.

    Args:
        where: how a message names it.

    Raises:
        InputError: it is none.
    """
    check_keys(values, ("min", "max", "reduce"), f"key of {where}")
    for name in ("min", "max"):
        if values.get(name) is not None:
            check_number(f"{name} of {where}", values[name])
    if values.get("reduce", "mean") not in [*REDUCERS]:
        raise InputError(f"reduce of {where} is {shown(values['reduce'])}; {any_of(REDUCERS)} is accepted")
    bounds = Bounds(**values)
    if bounds.min is None and bounds.max is None:
        raise InputError(f"{where} has neither min nor max; one of them, or both, are accepted")
    if bounds.min is not None and bounds.max is not None and bounds.min > bounds.max:
        raise InputError(f"{where} has min {bounds.min:g} above max {bounds.max:g}; min up to max is accepted")
    return bounds


def judge(row: Row, thresholds: Mapping[str, Bounds], as_original: bool = False) -> list[str]:
    """Why a row does not pass thresholds: a reason for each, which begins with the column's name; none if it passes.

    Args:
        row: its columns.
        thresholds: column -> `Bounds`.
        as_original: a row passes where it has no score.
    """
    reasons = (_reason(column, row.get(column), bounds, as_original) for column, bounds in thresholds.items())
    return [reason for reason in reasons if reason]


def _reason(column: str, value: Any, bounds: Bounds, as_original: bool) -> str:
    if value is None or value == []:
        return "" if as_original else f"{column} is missing"
    numbers: Sequence[Any] = value if isinstance(value, list) else [value]
    if not all(isinstance(number, (int, float)) and math.isfinite(number) for number in numbers):
        return "" if as_original else f"{column} is no number"
    number = REDUCERS[bounds.reduce](numbers)  # type: ignore[operator]  # min and max take lists, too
    if bounds.min is not None and number < bounds.min:
        return f"{column} {number:.4g} is below {bounds.min:g}"
    if bounds.max is not None and number > bounds.max:
        return f"{column} {number:.4g} is above {bounds.max:g}"
    return ""
