"""The report of a run: what came in, what each step removed and why, the scores, and pictures of both.

    summary = Summary(steps, thresholds)
    for row, reasons in clips: summary.add_clip(row, reasons)
    write_report(path, summary, frame_of)

One HTML file without scripts, which works offline. Neither its size nor the memory for it depends on the number of
clips: reasons are counted by kind, scores in histograms, and of each kind some clips are shown, chosen by their keys.
"""

from __future__ import annotations

import hashlib
import heapq
import io
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from ppdiffusers_ext.data.chain.filtering import REDUCERS, Bounds
from ppdiffusers_ext.data.chain.histograms import Histogram
from ppdiffusers_ext.data.chain.steps import Row
from ppdiffusers_ext.data.outputs import output_file
from ppdiffusers_ext.data.random_access import FrameReader
from ppdiffusers_ext.errors import InputError, counted, one_line
from ppdiffusers_ext.metrics.html import all_in, cards, note, page, pictures, table
from ppdiffusers_ext.metrics.svg import as_text, histogram

# Columns of numbers that are no scores.
_FACTS = ("start", "num_frames", "size", "mtime_ns", "seed")
_MOST_SCORES, _MOST_KINDS, _MOST_FAILURES = 32, 24, 40
_SHOWN_KEPT, _SHOWN_OF_KIND = 24, 8  # pictures
_MOST_BYTES = 3 << 20  # of all pictures
_BOX = (176, 132)  # pixels of a picture
_FRAME = 10  # that is shown: the first ones after a cut may be of the scene before
_OTHERS = "other reasons"
_STYLE = """
td.bar { width: 40%; } td.number { text-align: right; white-space: nowrap; }
td.bar div { background: var(--c0); height: .8rem; margin-top: .35rem; border-radius: 2px; }
tr.step td { font-weight: 600; } h3 { font-size: 1rem; margin: 1.2rem 0 .2rem; overflow-wrap: anywhere; }
figure { max-width: 176px; } figcaption { overflow-wrap: anywhere; font-size: .75rem; line-height: 1.25; }
"""


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
class Summary:
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


def middle_frame(path: str | os.PathLike) -> np.ndarray:
    """A frame near the beginning of a clip, which costs little: (H, W, 3) uint8."""
    reader = FrameReader(path)
    return reader.read([min(_FRAME, len(reader) // 2)])[0]


def write_report(
    path: str | os.PathLike,
    summary: Summary,
    frame_of: Callable[[Row], np.ndarray],
    title: str = "Report of the data chain",
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Write the page.

    Args:
        path: of the HTML file.
        frame_of: function of a row that gives a picture of its clip, (H, W, 3) uint8; InputError or OSError leaves it
            out.
        facts: what else there is to say of the run, by name.

    Raises:
        InputError: it cannot be written.
    """
    sections = [
        f"<h1>{as_text(title)}</h1>",
        _cards(summary),
        *_funnel(summary),
        *_failures(summary),
        *_sheets(summary, frame_of),
        *_scores(summary),
        *_facts(facts or {}),
    ]
    with output_file(path) as temporary:
        Path(temporary).write_text(page(title, sections, _STYLE), encoding="utf-8")


def _cards(summary: Summary) -> str:
    failed = sum(sample.count for sample in summary.failures.values())
    share = f"{summary.kept / summary.clips:.0%} of all clips" if summary.clips else "no clips"
    return cards(
        [
            (f"{summary.videos:,}", "videos"),
            (f"{summary.clips:,}", "clips"),
            (f"{summary.kept:,}", f"clips kept, {share}"),
            (f"{summary.seconds / 60:,.1f} min", "length of what is kept"),
            (f"{failed:,}", "failures of a step"),
        ]
    )


def _funnel(summary: Summary) -> list[str]:
    """A row for each step with what is left after it, and one for each of its reasons."""
    left, most = summary.clips, max(summary.clips, 1)
    rows = [_line("step", "clips", left, left / most)]
    for step, kinds in _removed(summary):
        count = sum(kinds.values())
        left -= count
        rows.append(_line("step", step, left, left / most, f"−{count:,}"))
        rows += [_line("reason", kind, None, None, f"−{count:,}") for kind, count in kinds.items()]
    said = "Clips that are left after each step, and why it removed the others. Of several reasons the first counts."
    without = f" {counted(summary.without_clips, 'video')} became no clip: too short, or too small."
    return ["<h2>Steps</h2>", note(said + (without if summary.without_clips else "")), all_in("table", "funnel", rows)]


def _line(kind: str, name: str, left: int | None, share: float | None, removed: str = "") -> str:
    bar = "" if share is None else f'<div style="width: {share:.1%}"></div>'
    number = "" if left is None else f"{left:,}"
    return (
        f'<tr class="{kind}"><td>{as_text(name)}</td><td class="number">{removed}</td><td class="number">{number}</td>'
        f'<td class="bar">{bar}</td></tr>'
    )


def _failures(summary: Summary) -> list[str]:
    parts = []
    for step, sample in sorted(summary.failures.items(), key=lambda item: _place(summary, item[0])):
        rows = list(sample)
        more = f", of which {len(rows)} are listed" if len(rows) < sample.count else ""
        heading = f"{step}: {counted(sample.count, 'failure')}{more}"
        parts.append(f"<details><summary>{as_text(heading)}</summary>{table(rows)}</details>")
    return ["<h2>Failures</h2>", *parts] if parts else []


def _place(summary: Summary, step: str) -> tuple[int, str]:
    return summary.steps.index(step) if step in summary.steps else len(summary.steps), step


def _removed(summary: Summary) -> list[tuple[str, dict[str, int]]]:
    """Steps that removed clips, in order, and their kinds of reasons, the most frequent ones first."""
    steps = sorted(summary.removed, key=lambda step: _place(summary, step))
    ordered = (sorted(summary.removed[step].items(), key=lambda item: (-item[1], item[0])) for step in steps)
    return [(step, dict(kinds)) for step, kinds in zip(steps, ordered)]


def _sheets(summary: Summary, frame_of: Callable[[Row], np.ndarray]) -> list[str]:
    """Pictures of clips that are kept, and of those that are not, by kind of reason."""
    order = ["", *(kind for _, kinds in _removed(summary) for kind in kinds)]
    parts, left = [], _MOST_BYTES
    for kind in dict.fromkeys(order):
        if kind not in summary.shown:
            continue
        sample, shown = summary.shown[kind], []
        for key, (row, reasons) in sample:
            picture = _picture(row, frame_of)
            if picture is not None and len(picture) <= left:
                left -= len(picture)
                shown.append((one_line(f"{key}: {reasons}" if reasons else key, 160), picture))
        parts.append(f"<h3>{as_text(kind or 'kept')}: {counted(sample.count, 'clip')}</h3>")
        parts.append(pictures(shown) if shown else note("No picture of these can be read."))
    return ["<h2>Clips</h2>", note("Some of each, chosen by their names."), *parts] if parts else []


def _picture(row: Row, frame_of: Callable[[Row], np.ndarray]) -> bytes | None:
    try:
        image = PIL.Image.fromarray(frame_of(row))
    except (InputError, OSError):
        return None
    image.thumbnail(_BOX)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=60)
    return file.getvalue()


def _scores(summary: Summary) -> list[str]:
    parts = []
    for step, columns in [*summary.thresholds.items(), ("", {column: Bounds() for column in sorted(summary.scores)})]:
        for column, bounds in columns.items():
            if column in summary.scores and (step or column not in summary._bounds):
                parts += _score(column, step, bounds, summary.scores[column])
    said = "Clips by score: those that are kept below, the others on top. Dashed: thresholds; both bounds pass."
    return ["<h2>Scores</h2>", note(said), *parts] if parts else []


def _score(column: str, step: str, bounds: Bounds, counts: Histogram) -> list[str]:
    levels = [(name, value) for name, value in (("min", bounds.min), ("max", bounds.max)) if value is not None]
    edges, (kept, removed) = counts.binned([value for _, value in levels])
    title = f"{column} ({step})" if step else column
    named = [(f"{name} {value:g}", value) for name, value in levels]
    plot = histogram(title, edges, [("kept", kept), ("not kept", removed)], named)
    return [f"<h3>{as_text(title)}: {counted(counts.total, 'clip')}</h3>", plot]


def _facts(facts: Mapping[str, Any]) -> list[str]:
    return ["<h2>Run</h2>", table(facts.items())] if facts else []
