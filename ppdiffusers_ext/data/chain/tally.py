"""What a run came to, counted row by row in memory that does not grow with the rows."""

from __future__ import annotations

import hashlib
import heapq
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ppdiffusers_ext.data.chain.filtering import REDUCERS, Bounds
from ppdiffusers_ext.data.chain.histograms import Histogram
from ppdiffusers_ext.data.chain.rows import Item, Judge
from ppdiffusers_ext.data.chain.steps import Row
from ppdiffusers_ext.errors import one_line

# Columns of numbers that are no scores.
_FACTS = ("start", "num_frames", "size", "mtime_ns", "seed")
_MOST_SCORES, _MOST_KINDS, _MOST_FAILURES = 32, 24, 40
_SHOWN_KEPT, _SHOWN_OF_KIND = 24, 8  # clips that are shown
_OTHERS = "other reasons"


class Sample:
    """Some of many things, which are chosen by their keys: the same ones in whatever order they come.

    Args:
        most: number of things that are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._heap: list[tuple[int, str, Any]] = []
        self.count = 0

    def add(self, key: str, value: Any) -> None:
        """See a thing; keys differ."""
        self.count += 1
        rank = -int.from_bytes(hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[:8], "big")
        if len(self._heap) < self._most:
            heapq.heappush(self._heap, (rank, key, value))
        elif (rank, key) > self._heap[0][:2]:
            heapq.heapreplace(self._heap, (rank, key, value))

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """(key, value), sorted by key."""
        return iter(sorted((key, value) for _, key, value in self._heap))


@dataclass
class Tally:
    """What a report says, gathered row by row.

    Attributes:
        steps: names, in order.
        thresholds: step -> column -> `Bounds`.
    """

    steps: Sequence[str]
    thresholds: Mapping[str, Mapping[str, Bounds]]
    videos: int = 0
    without_clips: int = 0
    clips: int = 0
    kept: int = 0
    seconds: float = 0.0  # of all clips that are kept
    removed: dict[str, Counter[str]] = field(default_factory=dict)  # step -> kind of reason -> number of clips
    failures: dict[str, Sample] = field(default_factory=dict)  # step -> (key, reason) of rows that failed
    shown: dict[str, Sample] = field(default_factory=dict)  # kind of reason, "" of those that are kept -> rows
    scores: dict[str, Histogram] = field(default_factory=dict)  # column -> of those that are kept, and the others

    def __post_init__(self) -> None:
        self._step_of = {column: step for step, columns in self.thresholds.items() for column in columns}
        self._bounds = {column: each for columns in self.thresholds.values() for column, each in columns.items()}

    def add_video(self, row: Row, errors: Mapping[str, str], clips: int | None = None) -> None:
        """A video, the reasons for which steps failed on it, and how many clips it became, if that is known."""
        self.videos += 1
        self.without_clips += clips == 0 and not errors
        self._fail(row, errors)

    def add_clip(self, row: Row, reasons: Sequence[str], errors: Mapping[str, str] | None = None) -> None:
        """A clip, the reasons for which it is not kept in the order of the steps, and those of steps that failed."""
        self.clips += 1
        self._fail(row, errors or {})
        small = {name: row[name] for name in ("key", "video", "num_frames") if name in row}
        if reasons:
            step, kind = self._kind_of(reasons[0])
            kinds = self.removed.setdefault(step, Counter())
            is_new = kind not in kinds
            if is_new and sum(map(len, self.removed.values())) >= _MOST_KINDS:
                kind = _OTHERS
            kinds[kind] += 1
            self.shown.setdefault(kind, Sample(_SHOWN_OF_KIND)).add(row["key"], (small, "; ".join(reasons)))
        else:
            self.kept += 1
            self.seconds += float(row.get("seconds") or 0)
            self.shown.setdefault("", Sample(_SHOWN_KEPT)).add(row["key"], (small, ""))
        self._count(row, bool(reasons))

    def _fail(self, row: Row, errors: Mapping[str, str]) -> None:
        for step, reason in errors.items():
            self.failures.setdefault(step, Sample(_MOST_FAILURES)).add(row["key"], reason)

    def _kind_of(self, reason: str) -> tuple[str, str]:
        """The step that a reason is of, and the reason without what differs from clip to clip."""
        name = reason.split(" ", 1)[0]
        step = name if name in self.steps else self._step_of.get(name, "filter")
        if match := re.match(r"(\S+) failed: ", reason):
            return step, f"{match[1]} failed"
        return step, one_line(re.sub(r"^(\S+) \S+ (is (?:below|above) \S+)$", r"\1 \2", reason), 120)

    def _count(self, row: Row, is_removed: bool) -> None:
        for column, value in row.items():
            if column not in self.scores and (column in _FACTS or len(self.scores) >= _MOST_SCORES):
                continue
            number = _number(value, self._bounds.get(column))
            if number is not None:
                self.scores.setdefault(column, Histogram(2)).add(int(is_removed), number)


def _number(value: Any, bounds: Bounds | None) -> float | None:
    """A score as a number; None for what is none."""
    values = value if isinstance(value, list) else [value]
    numbers = [each for each in values if isinstance(each, (int, float)) and not isinstance(each, bool)]
    if not numbers or len(numbers) < len(values) or not all(map(math.isfinite, numbers)):
        return None
    return float(REDUCERS[bounds.reduce if bounds else "mean"](numbers))  # type: ignore[operator]  # takes lists


def tally_of(
    steps: Sequence[str],
    thresholds: Mapping[str, Mapping[str, Bounds]],
    videos: Iterable[Item],
    clips: Iterable[Item],
    judge: Judge,
) -> Tally:
    """The `Tally` of the rows of a run.

    Args:
        videos, clips: with the columns and errors of their steps.
        judge: which says why a clip is not kept.
    """
    tally, count = Tally(steps, thresholds), Counter[str]()
    for clip in clips:
        count[clip.row["video"]] += 1
        tally.add_clip(clip.row, judge.reasons(clip), clip.errors)
    for video in videos:
        tally.add_video(video.row, video.errors, count[video.key])
    return tally
