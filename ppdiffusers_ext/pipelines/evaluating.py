"""What `scripts.evaluate` does: videos against their true ones, and results without them, as tables and files."""

from __future__ import annotations

import contextlib
import functools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ppdiffusers_ext.data.existing import check_existing
from ppdiffusers_ext.data.outputs import check_outputs, check_writable, output_file
from ppdiffusers_ext.data.records import Made, digest
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.metrics import results
from ppdiffusers_ext.metrics.evaluation import PairResult, check_pair, evaluate_pair
from ppdiffusers_ext.metrics.networks import WEIGHTS
from ppdiffusers_ext.metrics.report import Table, mean_scores, to_json, write_json
from ppdiffusers_ext.metrics.results import COLUMNS, evaluate_item, find_items, key_numbers, mean_numbers
from ppdiffusers_ext.metrics.sources import find_pairs
from ppdiffusers_ext.options import ExistingOptions
from ppdiffusers_ext.pipelines.evaluating_options import EvaluationOptions
from ppdiffusers_ext.pipelines.reporting import open_networks
from ppdiffusers_ext.preprocess.estimators import Estimator

STDOUT = "-"


@contextlib.contextmanager
def to_be_written(
    options: ExistingOptions,
    files: Iterable[str | None],
    made: Made | Callable[[], Made],
    inputs: Iterable[str | os.PathLike | None],
) -> Iterator[list[str]]:
    """Within it, files are recorded, which are none of the inputs. Yields those that are to be made.

    Nothing is yielded for None, and "-" is never kept.
    """
    paths = [path for path in files if path is not None]
    on_disk = [path for path in paths if path != STDOUT]
    if not on_disk:
        yield paths
        return
    check_outputs(on_disk, inputs)
    held = check_existing(dict.fromkeys(on_disk, made), options.overwrite, options.skip_existing)
    missing = set(map(str, held.missing))
    for path in on_disk:
        if str(Path(path)) not in missing:
            print(f"kept {path}")
    with held.recorded():
        yield [path for path in paths if path == STDOUT or str(Path(path)) in missing]


def write(path: str, text: str) -> None:
    """Write a file, complete or not at all, and say so."""
    with output_file(path) as temporary:
        Path(temporary).write_text(text, encoding="utf-8")
    print(f"wrote {path}")


def tell_numbers(path: str | None, result: Mapping[str, Any]) -> None:
    """Print numbers as JSON for the path "-", or write them into the file, if there is one."""
    text = json.dumps(result, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    if path == STDOUT:
        print(text, end="")
    elif path:
        write(path, text)


def check_way(options: EvaluationOptions) -> None:
    """Raises InputError for options of one way to evaluate that are given with another, and for bad places."""
    if options.per_frame and not options.json:
        raise InputError("--per-frame needs --json, for the table has no room for it; --json FILE or - is accepted")
    for path in (options.json, options.csv, options.html):
        if path not in (None, STDOUT):
            check_writable(str(path))
    if options.reference_image is not None:
        if options.prediction is None:
            raise InputError("--reference-image needs results; PRED, a video or a folder of them, is accepted with it")
        if options.truth is not None or options.length is not None or options.resize:
            raise InputError(
                "--reference-image takes no GT, --length or --resize; --driving-poses is accepted with it"
            )
    by_protocol = options.protocol is not None or options.metrics is not None
    if by_protocol and (options.reference_image is not None or options.length is not None or options.resize):
        raise InputError(
            "--protocol says itself which frames are compared and how they are resized; PRED and GT are accepted with "
            "it, without --length, --resize and --reference-image"
        )
    if not by_protocol:
        given: dict[str, Any] = {f"--{name}": getattr(options, name) for name in ("paired", "csv", "html", "state")}
        given["--workers"] = None if options.workers == 1 else options.workers
        given["--weights"] = None if options.weights == WEIGHTS else options.weights
        if names := [name for name, value in given.items() if value is not None]:
            raise InputError(f"{names[0]} needs --protocol or --metrics, which are accepted with it")


def evaluate_pairs(options: EvaluationOptions) -> None:
    """Pair, check all pairs, then compare them one by one, print and write."""
    prediction, truth = needed_sides(options)
    pairs = find_pairs(prediction, truth)
    for pair in pairs:
        check_pair(pair, options.length, options.resize)

    def made_of() -> Made:
        inputs = {"PRED": digest(prediction), "GT": digest(truth)}
        how = {"--length": options.length, "--resize": options.resize, "--per-frame": options.per_frame}
        return Made("evaluate", inputs, how)

    clips = [clip.path for pair in pairs for clip in (pair.prediction, pair.truth)]
    with to_be_written(options, [options.json], made_of, clips) as files:
        if files or not options.json:
            found = (evaluate_pair(pair, options.length, options.resize) for pair in pairs)
            _show([pair.name for pair in pairs], found, options.json, options.per_frame)


def needed_sides(options: EvaluationOptions) -> tuple[str, str]:
    """PRED and GT. Raises InputError where one is missing."""
    if options.prediction is None or options.truth is None:
        raise InputError("nothing to compare; PRED and GT, PRED and --reference-image, or --demo, are accepted")
    return options.prediction, options.truth


def _show(names: Sequence[str], found: Iterable[PairResult], json_file: str | None, per_frame: bool) -> None:
    """Print the table row by row as the results come, and write the file; with "-" print JSON alone."""
    if json_file == STDOUT:
        print(to_json(list(found), per_frame), end="")
        return
    table, done = Table(names), []
    print(table.header())
    for result in found:
        print(table.row(result.name, result.scores), flush=True)
        done.append(result)
    print(table.row("mean", mean_scores(done)))
    if json_file:
        write_json(json_file, done, per_frame)
        print(f"wrote {json_file}")


def evaluate_results(options: EvaluationOptions, name: str, estimator: Estimator | None) -> None:
    """Measure results without a truth, print a table, and write the numbers.

    Args:
        name: of the networks that find people.
        estimator: them; None for those of the package, which may be missing.
    """
    assert options.prediction is not None and options.reference_image is not None  # see `check_way`
    items = find_items(options.prediction, options.reference_image, options.driving_poses)
    open_for = functools.partial(open_networks, estimator=estimator)

    def made_of() -> Made:
        paths = {"PRED": options.prediction, "--reference-image": options.reference_image}
        paths["--driving-poses"] = options.driving_poses
        inputs = {key: digest(path) for key, path in paths.items() if path is not None}
        return Made("evaluate", inputs, {"--per-frame": options.per_frame, "--poses": name})

    paths = [path for item in items for path in (item.clip.path, item.reference, item.driving_poses)]
    with to_be_written(options, [options.json], made_of, paths) as files:
        if options.json and not files:
            return
        found = (evaluate_item(item, open_for) for item in items)
        if options.json == STDOUT:
            print(results.to_json(list(found), options.per_frame), end="")
            return
        table, done = Table([item.name for item in items], COLUMNS), []
        print(table.header())
        for values in found:
            row = {**key_numbers(values), "num_frames": values["num_frames"]}
            print(table.row(values["name"], row), flush=True)
            done.append(values)
        print(table.row("mean", mean_numbers(done)))
        _tell_reasons(done)
        if options.json:
            write(options.json, results.to_json(done, options.per_frame))


def _tell_reasons(found: Sequence[dict[str, Any]]) -> None:
    """Say once each what was not measured, and why."""
    told = {f"{what}: {why}" for values in found for what, why in values["reasons"].items()}
    for line in sorted(told):
        print(f"not measured: {line}")
