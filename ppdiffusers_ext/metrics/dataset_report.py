"""The numbers of a dataset as text, JSON, CSV and as a page."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from ppdiffusers_ext.metrics.catalogue import DISTRIBUTION, HIGHER, METRICS, PAIRED, PERSON
from ppdiffusers_ext.metrics.dataset import Plan
from ppdiffusers_ext.metrics.html import cards, note, page, pictures, table
from ppdiffusers_ext.metrics.preparing import prepared_pairs
from ppdiffusers_ext.metrics.report import Table
from ppdiffusers_ext.metrics.result_report import thumbnail
from ppdiffusers_ext.metrics.svg import as_text, line_plot

_KINDS = (PAIRED, DISTRIBUTION, PERSON)
_WORST, _FRAMES = 3, 3  # clips that a page shows, and frames of each
_HEAD = ("scope", "name", "metric", "value", "low", "high", "better", "network")


def numbers_of(result: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Name of each metric of a dataset -> its number, see `summary.described`."""
    return {name: number for kind in _KINDS for name, number in result[kind].items()}


def text_lines(plan: Plan, result: Mapping[str, Any]) -> Iterator[str]:
    """What is printed: the protocol, a row for each clip, and the numbers of the dataset with their intervals."""
    yield from plan.protocol.lines()
    for name, files in _networks(result):
        yield f"{name}: {files}"
    names = [name for name in numbers_of(result) if METRICS[name].kind != DISTRIBUTION]
    if result["clips"]:
        columns = [(name, METRICS[name].title, METRICS[name].digits) for name in names]
        rows = Table([clip["name"] for clip in result["clips"]], columns)
        yield rows.header()
        for clip in result["clips"]:
            yield rows.row(clip["name"], clip)
        yield rows.row("mean", {name: numbers_of(result)[name]["value"] for name in names})
    for name, number in numbers_of(result).items():
        yield f"{METRICS[name].title}: {_words(name, number)}"
    for name, reason in reasons_of(result):
        yield f"not measured: {name}: {reason}"


def reasons_of(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Of what is not measured, in the dataset or of a clip: what, and why."""
    of_clips = ((f"{clip['name']}: {what}", why) for clip in result["clips"] for what, why in clip["reasons"].items())
    return [*result["not_measured"].items(), *of_clips]


def _networks(result: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each network, and its files with their SHA-256."""
    for name, files in result["networks"].items():
        yield f"network {name}", ", ".join(f"{path} ({sha256})" for path, sha256 in files.items())


def _words(name: str, number: Mapping[str, Any]) -> str:
    form = f".{METRICS[name].digits}f"
    if number["value"] is None:
        return "no value"
    said = format(number["value"], form)
    if number["low"] is not None:
        said += f" ({format(number['low'], form)} to {format(number['high'], form)})"
    if number["network"]:
        said += f", by {number['network']}"
    if "num_predictions" in number:
        said += f", {number['num_predictions']} generated against {number['num_truths']} true"
    return said


def to_json(result: Mapping[str, Any], per_frame: bool = False) -> str:
    """The JSON text; per_frame: also the numbers of every frame."""
    if not per_frame:
        clips = [{name: value for name, value in clip.items() if name != "frames"} for clip in result["clips"]]
        result = {**result, "clips": clips}
    return json.dumps(result, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def to_csv(result: Mapping[str, Any]) -> str:
    """One line for each number of a clip and of the dataset, with the columns `scope,name,metric,value,...`."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(_HEAD)
    numbers = numbers_of(result)
    for clip in result["clips"]:
        for name, number in numbers.items():
            if METRICS[name].kind != DISTRIBUTION:
                ends = number["better"], number["network"]
                writer.writerow(["clip", clip["name"], name, _plain(clip[name]), "", "", *map(_plain, ends)])
    for name, number in numbers.items():
        cells = [number[key] for key in _HEAD[3:]]
        writer.writerow(["dataset", result["protocol"]["name"], name, *map(_plain, cells)])
    return buffer.getvalue()


def _plain(value: Any) -> str:
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)


def to_html(plan: Plan, result: Mapping[str, Any]) -> str:
    """The page: numbers with intervals, the protocol, each metric over the clips, and the worst clips in pictures."""
    title = f"Evaluation by protocol {plan.protocol.name}"
    numbers = numbers_of(result)
    figures = [(_value(name, number["value"]), _caption(name, number)) for name, number in numbers.items()]
    sections = [
        f"<h1>{as_text(title)}</h1>",
        cards(figures),
        *_plots(result),
        *_worst(plan, result),
        "<h2>Protocol</h2>" + table(_protocol_rows(plan, result)),
        *_not_measured(result),
    ]
    return page(title, sections)


def _value(name: str, value: float | None) -> str:
    return "–" if value is None else format(value, f".{METRICS[name].digits}f")


def _caption(name: str, number: Mapping[str, Any]) -> str:
    form, said = f".{METRICS[name].digits}f", METRICS[name].title
    if number["low"] is not None:
        said += f", {format(number['low'], form)} to {format(number['high'], form)}"
    if number["network"]:
        said += f", by {number['network']}"
    return f"{said} ({number['better']} is better)" if number["better"] else said


def _plots(result: Mapping[str, Any]) -> list[str]:
    clips = result["clips"]
    if not clips:
        return []
    said = "Each metric over the clips, in the order of the table; the dashed line is the mean."
    parts = ["<h2>Clips</h2>", note(said)]
    for name, number in numbers_of(result).items():
        if METRICS[name].kind != DISTRIBUTION and number["value"] is not None:
            values = [clip[name] for clip in clips]
            parts.append(f"<h3>{as_text(METRICS[name].title)}</h3>")
            parts.append(line_plot(f"{name} of each clip", [(name, values)], number["value"]))
    names = [name for name in numbers_of(result) if METRICS[name].kind != DISTRIBUTION]
    rows = (
        (clip["name"], ", ".join(f"{METRICS[name].title} {_value(name, clip[name])}" for name in names))
        for clip in clips
    )
    return [*parts, table(rows)]


def worst_clips(result: Mapping[str, Any]) -> tuple[str, list[int]]:
    """The metric by which clips are ordered, the first paired one, and the numbers of the worst clips."""
    name = next((name for name in result[PAIRED] if METRICS[name].better), "")
    if not name:
        return "", []
    sign = 1 if METRICS[name].better == HIGHER else -1
    known = [i for i, clip in enumerate(result["clips"]) if clip[name] is not None]
    return name, sorted(known, key=lambda i: sign * result["clips"][i][name])[:_WORST]


def _worst(plan: Plan, result: Mapping[str, Any]) -> Iterator[str]:
    name, chosen = worst_clips(result)
    if not chosen:
        return
    yield "<h2>The worst clips</h2>"
    yield note(f"By {METRICS[name].title}: the worst frames of each, the generated one beside the true one.")
    for number in chosen:
        clip = result["clips"][number]
        values = clip["frames"][name]
        yield f"<h3>{as_text(clip['name'])}</h3>"
        yield line_plot(f"{name} of each frame", [(name, values)], clip[name])
        yield pictures(_worst_frames(plan, number, clip["num_frames"], name, values))


def _worst_frames(
    plan: Plan, number: int, count: int, name: str, values: Sequence[float | None]
) -> Iterator[tuple[str, bytes]]:
    """Captions and JPEGs of the worst frames of a pair."""
    sign = 1 if METRICS[name].better == HIGHER else -1
    known = [i for i, value in enumerate(values) if value is not None]
    shown = sorted(sorted(known, key=lambda i: sign * float(values[i] or 0.0))[:_FRAMES])
    pair, form = plan.pairs[number], f".{METRICS[name].digits}f"
    frames = prepared_pairs(pair.prediction, pair.truth, plan.protocol, count)
    for i, (made, true) in enumerate(islice(frames, shown[-1] + 1)):
        if i in shown:
            yield f"frame {i}: {format(values[i], form)}", thumbnail(np.concatenate([made, true], axis=1))


def _protocol_rows(plan: Plan, result: Mapping[str, Any]) -> Iterator[tuple[object, object]]:
    for line in plan.protocol.lines():
        name, _, said = line.partition(": ")
        yield name, said
    yield "engine", result["engine"]
    yield from _networks(result)


def _not_measured(result: Mapping[str, Any]) -> list[str]:
    rows = reasons_of(result)
    return ["<h2>Not measured</h2>" + table(rows)] if rows else []
