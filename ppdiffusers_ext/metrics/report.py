"""Results of an evaluation as a table and as JSON."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppdiffusers_ext.data.outputs import output_file
from ppdiffusers_ext.metrics.video import METRICS

if TYPE_CHECKING:
    from ppdiffusers_ext.metrics.evaluation import PairResult


# name of the number, title of its column, digits behind the point
_COLUMNS = (
    ("psnr", "PSNR dB", 2),
    ("psnr_uint8_overflow", "PSNR overflow", 2),
    ("ssim", "SSIM", 4),
    ("l1", "L1", 4),
    ("flicker", "flicker", 3),
)


class Table:
    """Table whose lines are made one at a time, so that each can be printed as soon as its pair is done.

    names: of all rows, for the width of the first column.
    columns: key, title and digits behind the point of each number.
    """

    def __init__(self, names: Iterable[str], columns: Sequence[tuple[str, str, int]] = _COLUMNS) -> None:
        self._width, self._columns = max(map(len, [*names, "mean"])), columns

    def header(self) -> str:
        titles = "  ".join(["frames", *(f"{title:>{_cell(title)}}" for _, title, _ in self._columns)])
        return f"{'':{self._width}}  {titles}"

    def row(self, name: str, scores: Mapping[str, Any]) -> str:
        """The line of a name and its `VideoMetrics.result()` (or `mean_scores`); "-" for a number that is None."""
        count = scores.get("num_frames", "")
        cells = [f"{count:>6}"]
        for key, title, digits in self._columns:
            text = "-" if scores[key] is None else f"{scores[key]:.{digits}f}"
            cells.append(f"{text:>{_cell(title)}}")
        return f"{name:{self._width}}  {'  '.join(cells)}"


def mean_scores(results: Sequence[PairResult]) -> dict[str, float | None]:
    """Mean of each metric over `PairResult`s, with equal weight for each pair: a dict with the keys `METRICS`.

    Pairs of one frame have no flicker and do not count in its mean, which is None without other pairs. Raises
    ValueError if there are no results.
    """
    if not results:
        raise ValueError("a mean needs at least one result")
    means = {}
    for name in METRICS:
        values = [result.scores[name] for result in results if result.scores[name] is not None]
        means[name] = math.fsum(values) / len(values) if values else None
    return means


def to_json(results: Sequence[PairResult], per_frame: bool = False) -> str:
    """The JSON text of `PairResult`s: {"pairs": [...], "mean": {...}}. Strict JSON: null where a number is infinite.

    per_frame: also list the numbers of every frame.
    """
    pairs = []
    for result in results:
        entry = {name: getattr(result, name) for name in "name prediction truth width height resized_from".split()}
        entry.update(result.scores)
        if per_frame:
            entry["frames"] = [{name: _finite(value) for name, value in frame.items()} for frame in result.frames]
        pairs.append(entry)
    return json.dumps({"pairs": pairs, "mean": mean_scores(results)}, indent=1, allow_nan=False) + "\n"


def write_json(path: str | os.PathLike, results: Sequence[PairResult], per_frame: bool = False) -> None:
    """Write `to_json` to a file, complete or not at all. Raises InputError where the file cannot be written."""
    with output_file(path) as temporary:
        Path(temporary).write_text(to_json(results, per_frame), encoding="utf-8")


def _cell(title: str) -> int:
    """Characters of a column: as its title, but not less than its numbers have."""
    return max(len(title), 7)


def _finite(value: float | None) -> float | None:
    return value if value is None or math.isfinite(value) else None
