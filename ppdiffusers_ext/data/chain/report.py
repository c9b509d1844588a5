"""The report of a run: what came in, what each step removed and why, the scores, and pictures of both.

    tally = tally_of(steps, thresholds, videos, clips, judge)
    write_report(path, tally, frame_of)

One HTML file without scripts, which works offline. Neither its size nor the memory for it depends on the number of
clips: reasons are counted by kind, scores in histograms, and of each kind some clips are shown, chosen by their keys.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from ppdiffusers_ext.data.chain.filtering import Bounds
from ppdiffusers_ext.data.chain.histograms import Histogram
from ppdiffusers_ext.data.chain.steps import Row
from ppdiffusers_ext.data.chain.tally import Tally
from ppdiffusers_ext.data.outputs import output_file
from ppdiffusers_ext.data.random_access import FrameReader
from ppdiffusers_ext.errors import InputError, counted, one_line
from ppdiffusers_ext.metrics.html import all_in, cards, note, page, pictures, table
from ppdiffusers_ext.metrics.svg import as_text, histogram

_MOST_BYTES = 3 << 20  # of all pictures
_BOX = (176, 132)  # pixels of a picture
_FRAME = 10  # that is shown: the first ones after a cut may be of the scene before
_STYLE = """
td.bar { width: 40%; } td.number { text-align: right; white-space: nowrap; }
td.bar div { background: var(--c0); height: .8rem; margin-top: .35rem; border-radius: 2px; }
tr.step td { font-weight: 600; } h3 { font-size: 1rem; margin: 1.2rem 0 .2rem; overflow-wrap: anywhere; }
figure { max-width: 176px; } figcaption { overflow-wrap: anywhere; font-size: .75rem; line-height: 1.25; }
"""


def early_frame(path: str | os.PathLike) -> np.ndarray:
    """A frame near the beginning of a clip, which costs little: (H, W, 3) uint8."""
    reader = FrameReader(path)
    return reader.read([min(_FRAME, len(reader) // 2)])[0]


def write_report(
    path: str | os.PathLike,
    tally: Tally,
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
        _cards(tally),
        *_funnel(tally),
        *_failures(tally),
        *_sheets(tally, frame_of),
        *_scores(tally),
        *_facts(facts or {}),
    ]
    with output_file(path) as temporary:
        Path(temporary).write_text(page(title, sections, _STYLE), encoding="utf-8")


def _cards(tally: Tally) -> str:
    failed = sum(sample.count for sample in tally.failures.values())
    share = f"{tally.kept / tally.clips:.0%} of all clips" if tally.clips else "no clips"
    return cards(
        [
            (f"{tally.videos:,}", "videos"),
            (f"{tally.clips:,}", "clips"),
            (f"{tally.kept:,}", f"clips kept, {share}"),
            (f"{tally.seconds / 60:,.1f} min", "length of what is kept"),
            (f"{failed:,}", "failures of a step"),
        ]
    )


def _funnel(tally: Tally) -> list[str]:
    """A row for each step with what is left after it, and one for each of its reasons."""
    left, most = tally.clips, max(tally.clips, 1)
    rows = [_line("step", "clips", left, left / most)]
    for step, kinds in _removed(tally):
        count = sum(kinds.values())
        left -= count
        rows.append(_line("step", step, left, left / most, f"−{count:,}"))
        rows += [_line("reason", kind, None, None, f"−{count:,}") for kind, count in kinds.items()]
    said = "Clips that are left after each step, and why it removed the others. Of several reasons the first counts."
    without = f" {counted(tally.without_clips, 'video')} became no clip: too short, or too small."
    return ["<h2>Steps</h2>", note(said + (without if tally.without_clips else "")), all_in("table", "funnel", rows)]


def _line(kind: str, name: str, left: int | None, share: float | None, removed: str = "") -> str:
    bar = "" if share is None else f'<div style="width: {share:.1%}"></div>'
    number = "" if left is None else f"{left:,}"
    return (
        f'<tr class="{kind}"><td>{as_text(name)}</td><td class="number">{removed}</td><td class="number">{number}</td>'
        f'<td class="bar">{bar}</td></tr>'
    )


def _failures(tally: Tally) -> list[str]:
    parts = []
    for step, sample in sorted(tally.failures.items(), key=lambda item: _place(tally, item[0])):
        rows = list(sample)
        more = f", of which {len(rows)} are listed" if len(rows) < sample.count else ""
        heading = f"{step}: {counted(sample.count, 'failure')}{more}"
        parts.append(f"<details><summary>{as_text(heading)}</summary>{table(rows)}</details>")
    return ["<h2>Failures</h2>", *parts] if parts else []


def _place(tally: Tally, step: str) -> tuple[int, str]:
    return tally.steps.index(step) if step in tally.steps else len(tally.steps), step


def _removed(tally: Tally) -> list[tuple[str, dict[str, int]]]:
    """Steps that removed clips, in order, and their kinds of reasons, the most frequent ones first."""
    steps = sorted(tally.removed, key=lambda step: _place(tally, step))
    ordered = (sorted(tally.removed[step].items(), key=lambda item: (-item[1], item[0])) for step in steps)
    return [(step, dict(kinds)) for step, kinds in zip(steps, ordered)]


def _sheets(tally: Tally, frame_of: Callable[[Row], np.ndarray]) -> list[str]:
    """Pictures of clips that are kept, and of those that are not, by kind of reason."""
    order = ["", *(kind for _, kinds in _removed(tally) for kind in kinds)]
    parts, left = [], _MOST_BYTES
    for kind in dict.fromkeys(order):
        if kind not in tally.shown:
            continue
        sample, shown = tally.shown[kind], []
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


def _scores(tally: Tally) -> list[str]:
    parts = []
    for step, columns in [*tally.thresholds.items(), ("", {column: Bounds() for column in sorted(tally.scores)})]:
        for column, bounds in columns.items():
            if column in tally.scores and (step or column not in tally._bounds):
                parts += _score(column, step, bounds, tally.scores[column])
    said = "Clips by score: those that are kept below, the others on top. Dashed: thresholds; both bounds pass."
    return ["<h2>Scores</h2>", note(said), *parts] if parts else []


def _score(column: str, step: str, bounds: Bounds, counts: Histogram) -> list[str]:
    levels = [(name, value) for name, value in (("min", bounds.min), ("max", bounds.max)) if value is not None]
    edges, (kept, removed) = counts.binned([value for _, value in levels])
    title = f"{column} ({step})" if step else column
    named = [(f"{name} {value:g}", value) for name, value in levels]
    plot = histogram(title, edges, [("kept", kept), ("not kept", removed)], named)
    words = ", ".join([title, *(name for name, _ in named)])
    return [f"<h3>{as_text(words)}: {counted(counts.total, 'clip')}</h3>", plot]


def _facts(facts: Mapping[str, Any]) -> list[str]:
    return ["<h2>Run</h2>", table(facts.items())] if facts else []
