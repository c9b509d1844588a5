"""The report of a batch: a page and the same as JSON, with a row for each job."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ppdiffusers_ext.batch.manifest import FAILED, FINISHED, KEPT, STATES, Entry
from ppdiffusers_ext.data.outputs import output_file
from ppdiffusers_ext.metrics.html import all_in, cards, note, page, table
from ppdiffusers_ext.metrics.svg import as_text

_STYLE = """
body { max-width: 80rem; } table.jobs td.number { text-align: right; white-space: nowrap; }
table.jobs tr:first-child td { font-weight: 600; border-top: 0; }
"""
_FIGURES = {"identity": "identity", "pose_error": "pose error, pixels"}  # of jobs that have a report of their own


def write_batch_report(
    paths: Sequence[str | os.PathLike], name: str, entries: Iterable[Entry], seconds: float
) -> None:
    """Write the page and the JSON.

    Args:
        paths: of the page and of the JSON.
        name: of the list of jobs.
        entries: of the manifest, in the order of the jobs.
        seconds: that the run took.

    Raises:
        InputError: one cannot be written.
    """
    rows = [_row_of(entry) for entry in entries]
    summary = _summary(rows, seconds)
    text = json.dumps({"jobs_file": name, **summary, "jobs": rows}, indent=1) + "\n"
    folder = os.path.dirname(os.path.abspath(paths[0]))
    for path, content in zip(paths, (_page(name, summary, rows, folder), text), strict=True):
        with output_file(path) as temporary:
            Path(temporary).write_text(content, encoding="utf-8", errors="backslashreplace")


def _row_of(entry: Entry) -> dict[str, Any]:
    facts: dict[str, Any] = {"output": entry.output, "state": entry.state, "attempts": entry.attempts}
    facts |= {"failures": entry.failures, "seconds": round(entry.seconds, 3), "peak_memory_bytes": entry.memory}
    return {**facts, **entry.figures, **({"reason": entry.reason} if entry.reason else {})}


def _summary(rows: Sequence[Mapping[str, Any]], seconds: float) -> dict[str, Any]:
    done = [row for row in rows if row["state"] in FINISHED]
    states = Counter(row["state"] for row in rows)
    retried = sum(row["attempts"] > 1 for row in rows)
    return {
        "states": {state: states[state] for state in STATES if states[state]},
        "retried": retried,
        "run_seconds": round(seconds, 3),
        "job_seconds": round(sum(row["seconds"] for row in done), 3),
        "peak_memory_bytes": max((row["peak_memory_bytes"] for row in done), default=0),
        **{f"mean_{name}": _mean([row[name] for row in done if name in row]) for name in _FIGURES},
    }


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _page(name: str, summary: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], folder: str) -> str:
    states = summary["states"]
    figures = [(f"{len(rows):,}", "jobs"), *((f"{count:,}", state) for state, count in states.items())]
    figures += [
        (f"{summary['retried']:,}", "begun more than once"),
        (f"{summary['run_seconds']:,.0f} s", "the last run"),
        (f"{summary['job_seconds']:,.0f} s", "of jobs that are done"),
        (f"{summary['peak_memory_bytes'] / 1e9:.1f} GB", "most memory of a worker"),
    ]
    failures = [(row["output"], row["reason"]) for row in rows if row["state"] == FAILED]
    notes = [(row["output"], row["reason"]) for row in rows if row["state"] == KEPT and "reason" in row]
    title = f"Batch {Path(name).name}"
    parts = [f"<h1>{as_text(title)}</h1>", cards(figures)]
    parts += ["<h2>Failures</h2>", table(failures)] if failures else []
    parts += ["<h2>Kept as they were</h2>", table(notes)] if notes else []
    return page(title, [*parts, "<h2>Jobs</h2>", _jobs(rows, folder)], _STYLE)


def _jobs(rows: Sequence[Mapping[str, Any]], folder: str) -> str:
    shown = [name for name in _FIGURES if any(name in row for row in rows)]
    if not rows:
        return note("There are none.")
    heading = ("output", "state", "attempts", "seconds", "memory", *(_FIGURES[name] for name in shown))
    lines = [[as_text(cell) for cell in heading]]
    for row in rows:
        memory = f"{row['peak_memory_bytes'] / 1e9:.2f} GB" if row["peak_memory_bytes"] else ""
        seconds = f"{row['seconds']:.1f}" if row["seconds"] else ""
        figures = (f"{row[name]:.3f}" if name in row else "" for name in shown)
        cells = (row["state"], str(row["attempts"]), seconds, memory, *figures)
        lines.append([_linked(row, folder), *map(as_text, cells)])
    rows_of_table = (
        "<tr>" + "".join(f"<td{'' if place < 2 else _NUMBER}>{cell}</td>" for place, cell in enumerate(line)) + "</tr>"
        for line in lines
    )
    return all_in("table", "jobs", rows_of_table)


def _linked(row: Mapping[str, Any], folder: str) -> str:
    """The name of an output as HTML, with a link to it, from the page's folder, if it is done."""
    name = as_text(row["output"])
    if row["state"] not in FINISHED:
        return name
    path = os.path.relpath(row["output"], folder).replace(os.sep, "/")
    return f'<a href="./{quote(os.fsencode(path))}">{name}</a>'


_NUMBER = ' class="number"'
