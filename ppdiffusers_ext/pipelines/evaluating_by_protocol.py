"""Evaluation by a protocol, as `scripts.evaluate --protocol` does it: checks, computes, prints and writes."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ppdiffusers_ext.data.outputs import check_outputs, make_folders
from ppdiffusers_ext.data.records import Made, digest_of
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.metrics.catalogue import ALL, DISTRIBUTION, Metric, choose_metrics
from ppdiffusers_ext.metrics.dataset import Plan, evaluate, make_plan
from ppdiffusers_ext.metrics.dataset_report import text_lines, to_csv, to_html, to_json
from ppdiffusers_ext.metrics.protocol import read_protocol
from ppdiffusers_ext.metrics.weights import check_weights
from ppdiffusers_ext.pipelines.evaluating import STDOUT, needed_sides, to_be_written, write
from ppdiffusers_ext.pipelines.evaluating_options import EvaluationOptions
from ppdiffusers_ext.pipelines.reporting import OTHER_WEIGHTS, make_openers

OWN_PROTOCOL = "ours"


def evaluate_by_protocol(options: EvaluationOptions) -> None:
    """Evaluate PRED against GT.

    Raises:
        InputError, MissingFileError: clips, a protocol, metrics or weights that cannot be used, before anything is
            computed.
    """
    prediction, truth = needed_sides(options)
    for name in ("csv", "html"):
        if getattr(options, name) == STDOUT:
            raise InputError(f"--{name} is {STDOUT}; the name of a file is accepted, and {STDOUT} by --json alone")
    protocol = read_protocol(options.protocol or OWN_PROTOCOL)
    metrics = choose_metrics(options.metrics or ALL, protocol.metrics(), f"protocol {protocol.name}")
    metrics = [metric for metric in metrics if _is_asked(metric, options.paired)]
    if not metrics:
        raise InputError(
            f"--{'' if options.paired else 'no-'}paired leaves none of --metrics {options.metrics or ALL}; "
            "without it, both kinds are accepted"
        )
    weights = check_weights(metrics, options.weights, OTHER_WEIGHTS)
    plan = make_plan(prediction, truth, protocol, metrics, weights, options.paired)
    how = {"--protocol": digest_of(protocol.as_dict()), "--per-frame": options.per_frame}
    made = Made("evaluate", {"PRED, GT, metrics or weights": digest_of([task.key for task in plan.tasks])}, how)
    inputs: list[Any] = [clip.path for side in (plan.sets.predictions, plan.sets.truths) for clip in side.values()]
    inputs += [Path(weights.folder) / path for _, files in weights.digests for path, _ in files]
    inputs += [options.protocol] if options.protocol and Path(options.protocol).is_file() else []
    with to_be_written(options, [options.json, options.csv, options.html], made, inputs) as files:
        if files or not (options.json or options.csv or options.html):
            with _folder(options.state) as folder:
                result = evaluate(plan, folder, make_openers(options.weights), options.workers)
                _tell(options, plan, result, files)


def _is_asked(metric: Metric, paired: bool | None) -> bool:
    return paired is None or (metric.kind != DISTRIBUTION) == paired


@contextlib.contextmanager
def _folder(state: str | None) -> Iterator[Path]:
    """The folder that keeps results of clips: the user's, or one for this run."""
    if state is None:
        with tempfile.TemporaryDirectory() as name:
            yield Path(name)
        return
    check_outputs([Path(state) / "results.json"])
    folder = Path(state)
    with contextlib.ExitStack() as undo:
        make_folders(folder, folder, undo)
        undo.pop_all()
    yield folder


def _tell(options: EvaluationOptions, plan: Plan, result: dict[str, Any], files: Sequence[str]) -> None:
    if options.json == STDOUT:
        print(to_json(result, options.per_frame), end="")
    else:
        for line in text_lines(plan, result):
            print(line)
    texts = {
        options.json: lambda: to_json(result, options.per_frame),
        options.csv: lambda: to_csv(result),
        options.html: lambda: to_html(plan, result),
    }
    for path in files:
        if path != STDOUT:
            write(path, texts[path]())
