"""Evaluation of a dataset by a protocol: what is checked before, what is computed of each clip, what is made of it.

plan = make_plan("results", "truth", read_protocol("ours"), metrics, Weights("pretrained_weights"))
result = evaluate(plan, Path("kept"), openers, workers=2)
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ppdiffusers_ext.data.records import digest
from ppdiffusers_ext.errors import InputError, one_line
from ppdiffusers_ext.metrics.catalogue import DISTRIBUTION, PAIRED, PERSON, Metric
from ppdiffusers_ext.metrics.frames import MIN_SIDE
from ppdiffusers_ext.metrics.pairing import mean_of
from ppdiffusers_ext.metrics.preparing import check_sizes, common_length, frames_of, size_after
from ppdiffusers_ext.metrics.protocol import Frames, Protocol
from ppdiffusers_ext.metrics.sources import Clip, Pair, Sets, find_sets
from ppdiffusers_ext.metrics.summary import of_features, of_frames, too_few
from ppdiffusers_ext.metrics.tasks import (
    FEATURES,
    Openers,
    Task,
    Weights,
    make_task,
    read_features,
    read_values,
    run_tasks,
)

SIDES = ("prediction", "truth")


@dataclass(frozen=True)
class Plan:
    """What is to be computed, checked.

    Attributes:
        protocol, weights: see there.
        sets: the clips.
        pairs: those that are compared frame by frame; empty if none are.
        metrics: that are computed.
        tasks: one for each result of a clip.
        not_measured: name of a metric -> why it is not.
    """

    protocol: Protocol
    weights: Weights
    sets: Sets
    pairs: list[Pair]
    metrics: list[Metric]
    tasks: list[Task]
    not_measured: dict[str, str] = field(default_factory=dict)

    def names(self, kind: str) -> list[str]:
        """Of the metrics of a kind."""
        return [metric.name for metric in self.metrics if metric.kind == kind]


def make_plan(
    prediction: str | os.PathLike,
    truth: str | os.PathLike,
    protocol: Protocol,
    metrics: Sequence[Metric],
    weights: Weights,
    paired: bool | None = None,
) -> Plan:
    """The `Plan` of an evaluation. Nothing is computed, but every file is read once for its digest.

    Args:
        prediction, truth: paths, see `find_sets`.
        metrics: of the protocol.
        paired: True to compute only what compares frame by frame with the truth, False to compute only distances of
            distributions; if left out both, or where names differ, the latter.

    Raises:
        InputError, MissingFileError: clips that are missing, cannot be read, or do not fit the protocol; or nothing
            is left to be computed.
    """
    sets = find_sets(prediction, truth)
    chosen, not_measured = _possible(sets, protocol, metrics, paired)
    # Lengths follow the protocol's rule whichever metrics are chosen, or a distance would depend on the choice.
    counts = _counts(sets, protocol)
    pairs = sets.pairs() if any(metric.kind != DISTRIBUTION for metric in chosen) else []
    for pair in pairs:
        check_sizes(pair.prediction, pair.truth, protocol)
        width, height = size_after(protocol.truth, pair.truth.width, pair.truth.height)
        if min(width, height) < MIN_SIDE:
            raise InputError(
                f"{pair.truth.path} has {width}x{height} pixels, too small for SSIM; at least {MIN_SIDE}x{MIN_SIDE} "
                "is accepted"
            )
    plan = Plan(protocol, weights, sets, pairs, chosen, [], not_measured)
    _check_windows(plan, counts)
    plan.tasks.extend(_tasks(plan, counts))
    return plan


def _possible(
    sets: Sets, protocol: Protocol, metrics: Sequence[Metric], paired: bool | None
) -> tuple[list[Metric], dict[str, str]]:
    """The metrics that can be computed, and why others are not."""
    if paired and sets.unpaired:
        raise InputError(sets.unpaired)
    reason = "" if paired is not False else "--no-paired leaves it out"
    reason = reason or sets.unpaired
    not_measured = {metric.name: reason for metric in metrics if reason and metric.kind != DISTRIBUTION}
    if paired:
        not_measured |= {metric.name: "--paired leaves it out" for metric in metrics if metric.kind == DISTRIBUTION}
    chosen = [metric for metric in metrics if metric.name not in not_measured]
    if not chosen:
        what = ", ".join(metric.name for metric in metrics)
        why = sets.unpaired or f"{'--paired' if paired else '--no-paired'} leaves nothing of these"
        raise InputError(f"{what} of protocol {protocol.name}: {why}")
    return chosen, not_measured


def _counts(sets: Sets, protocol: Protocol) -> dict[tuple[str, str], int]:
    """Side and name of each clip -> how many of its frames count."""
    counts = {(side, name): clip.num_frames for side, clips in _sides(sets) for name, clip in clips.items()}
    for pair in [] if sets.unpaired else sets.pairs():
        length = common_length(pair.prediction, pair.truth, protocol)
        counts |= {(side, pair.name): length for side in SIDES}
    return counts


def _sides(sets: Sets) -> list[tuple[str, dict[str, Clip]]]:
    return [("prediction", sets.predictions), ("truth", sets.truths)]


def _check_windows(plan: Plan, counts: dict[tuple[str, str], int]) -> None:
    """Raises InputError for a distance of which there are too few runs of frames."""
    for metric in plan.metrics:
        if metric.kind == DISTRIBUTION:
            windows = plan.protocol.distributions[metric.name]
            numbers = dict.fromkeys(SIDES, 0)
            for (side, _), count in counts.items():
                numbers[side] += windows.count(count)
            told = {f"{side}s": number for side, number in numbers.items()}
            if why := too_few(metric, told, windows.clip_length):
                raise InputError(f"{why}; longer clips, or --metrics without {metric.name}, are accepted")


def _tasks(plan: Plan, counts: dict[tuple[str, str], int]) -> list[Task]:
    digests = {(side, name): digest(clip.path) for side, clips in _sides(plan.sets) for name, clip in clips.items()}
    tasks = []
    for pair in plan.pairs:
        made = frames_of(pair.prediction, [pair.truth], plan.protocol)
        sides = {
            "prediction": (pair.prediction, made, digests["prediction", pair.name]),
            "truth": (pair.truth, plan.protocol.truth, digests["truth", pair.name]),
        }
        for kind in (PAIRED, PERSON):
            if names := plan.names(kind):
                count = counts["prediction", pair.name]
                tasks.append(make_task(kind, pair.name, sides, count, names, plan.protocol, plan.weights))
    for name in plan.names(DISTRIBUTION):
        for side, clips in _sides(plan.sets):
            for clip_name, clip in clips.items():
                of = {side: (clip, _frames_of(plan, side, clip_name), digests[side, clip_name])}
                count = counts[side, clip_name]
                tasks.append(make_task(FEATURES, clip_name, of, count, [name], plan.protocol, plan.weights))
    return tasks


def _frames_of(plan: Plan, side: str, name: str) -> Frames:
    """What is done with the frames of a clip for distances; without its counterpart any truth may be of its size."""
    if side == "truth":
        return plan.protocol.truth
    truths = plan.sets.truths
    of = truths.values() if plan.sets.unpaired else [truths[name]]
    return frames_of(plan.sets.predictions[name], of, plan.protocol)


def evaluate(plan: Plan, folder: Path, openers: Openers, workers: int = 1) -> dict[str, Any]:
    """Compute what a folder does not have yet of a plan, and return all numbers; see docs/metrics.md.

    Args:
        folder: there, for the results of clips.
        openers, workers: see `run_tasks`.
    """
    run_tasks(plan.tasks, folder, openers, workers)
    clips = [_of_clip(plan, pair, folder) for pair in plan.pairs]
    numbers = {
        PAIRED: {
            name: of_frames(
                name, [clip["frames"][name] for clip in clips], plan.protocol.average, plan.protocol.bootstrap
            )
            for name in plan.names(PAIRED)
        },
        DISTRIBUTION: {name: _distance(plan, name, folder) for name in plan.names(DISTRIBUTION)},
        PERSON: {
            name: of_frames(name, [[clip[name]] for clip in clips], "clips", plan.protocol.bootstrap)
            for name in plan.names(PERSON)
        },
    }
    return {
        "protocol": plan.protocol.as_dict(),
        "engine": plan.weights.engine or None,
        "networks": {name: dict(files) for name, files in plan.weights.digests},
        **numbers,
        "not_measured": plan.not_measured,
        "clips": clips,
    }


def _of_clip(plan: Plan, pair: Pair, folder: Path) -> dict[str, Any]:
    """The numbers of a pair: the mean of each metric, and its values for each frame."""
    told: dict[str, Any] = {
        "name": one_line(pair.name),  # that of a file may have anything in it
        "prediction": one_line(pair.prediction.path),
        "truth": one_line(pair.truth.path),
        "frames": {},
        "reasons": {},
    }
    for task in plan.tasks:
        if task.name == pair.name and task.kind != FEATURES:
            told["num_frames"] = task.count
            values = read_values(task, folder)
            if task.kind == PAIRED:
                told["frames"] |= values
                told |= {name: mean_of(of_frames) for name, of_frames in values.items()}
            else:
                told["frames"] |= values["frames"]
                told["reasons"] |= values["reasons"]
                told |= values["numbers"]
                told["frames_without_face"] = values["frames_without_face"]
    return told


def _distance(plan: Plan, name: str, folder: Path) -> dict[str, Any]:
    tasks = [task for task in plan.tasks if task.kind == FEATURES and task.metrics == (name,)]
    made, true = ([read_features(task, folder) for task in tasks if task.side == side] for side in SIDES)
    return of_features(name, plan.protocol.distributions[name].network, made, true, plan.protocol.bootstrap)
