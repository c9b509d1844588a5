"""Compare generated videos with the true ones, or measure them without these.

    python -m scripts.evaluate result.mp4 truth.mp4
    python -m scripts.evaluate results/ truth/ --json scores.json
    python -m scripts.evaluate results/ --reference-image person.png --driving-poses poses.json --json report.json
    python -m scripts.evaluate --demo --seed 7

PSNR, SSIM, L1 and flicker are against the truth. Both are a video or a folder of frames (ordered by the numbers in
their names), or both are folders of videos, which are paired by their names. Frame by frame, in order: frame rates are
not looked at.

PSNR overflow is the number of many papers on human dance, computed in uint8 where it wraps around: too high, and only
for comparison with theirs. docs/metrics.md defines all of them.

--reference-image measures results without a truth: identity of the face (csim), errors of poses against the driving
ones, and drift of colours and sharpness, each against the picture; as --report of the other commands does.
--driving-poses has the poses of the driving video, in pixels of the result, as scripts.estimate_poses writes them.
Both may be folders with a file for each result, of its name.

--demo measures the small model of `make demo` on drawn people and motions that follow from the seed, beside the model
of stage 1 frame by frame, the reference repeated, and the mean of the training frames.

--demo-t2v measures the small text-to-video model of `make train-demo-easy-animate` on prompts of combinations that it
was not trained on: how often shirt, background and motion are what the prompt says, beside rendered clips and chance.
"""

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ppdiffusers_ext.options import FRAMES, SEEDS, ExistingOptions, option, path_option
from ppdiffusers_ext.preprocess import estimators

from . import poses
from .command import ArgumentParser, run

if TYPE_CHECKING:
    from ppdiffusers_ext.data.records import Made
    from ppdiffusers_ext.metrics.evaluation import PairResult
    from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig
    from ppdiffusers_ext.pipelines.easy_animate.options import EasyAnimateConfig

_RESULTS, _DEMO = "without GT", "with --demo"
DEMO_CONFIG, TEXT_DEMO_CONFIG = "configs/inference/demo.yaml", "configs/inference/easy_animate/demo.yaml"


@dataclass(frozen=True, kw_only=True)
class Options(poses.FinderOptions, ExistingOptions):
    prediction: str | None = path_option(
        None, help="generated video, folder of frames or folder of videos", is_positional=True, metavar="PRED"
    )
    truth: str | None = path_option(None, help="what it should be (ground truth)", is_positional=True, metavar="GT")
    json: str | None = path_option(None, help="write the numbers to a file; - prints them instead of the table")
    per_frame: bool = option(False, help="with --json: also the numbers of every frame")
    length: int | None = option(None, *FRAMES, help="compare only the first N frames", flags=("-L",))
    resize: bool = option(False, help="bring PRED to the size of GT (bicubic)")
    reference_image: str | None = path_option(
        None, help="picture of the person, or a folder of one for each result", group=_RESULTS
    )
    driving_poses: str | None = path_option(
        None, help="poses that drove the result as JSON, or a folder of them", group=_RESULTS
    )
    demo: bool = option(False, help="measure the small model instead of PRED", group=_DEMO)
    seed: int = option(0, *SEEDS, help="random seed of people, motions and noise; -1 draws one", group=_DEMO)
    clips: int = option(20, 1, 10_000, help="number of clips, of 24 frames each", group=_DEMO)
    demo_t2v: bool = option(False, help="measure the small text-to-video model instead of PRED", group=_DEMO)
    config: str | None = path_option(
        None,
        help="YAML file of the small model",
        unset=f"{DEMO_CONFIG}, with --demo-t2v {TEXT_DEMO_CONFIG}",
        group=_DEMO,
    )


def make_parser() -> ArgumentParser:
    return ArgumentParser("python -m scripts.evaluate", __doc__, Options)


def work(options: Options) -> None:
    """Pair, check all pairs, then compare them one by one, print and write."""
    from ppdiffusers_ext.data.outputs import check_writable
    from ppdiffusers_ext.data.records import Made, digest
    from ppdiffusers_ext.errors import InputError
    from ppdiffusers_ext.metrics.evaluation import check_pair, evaluate_pair
    from ppdiffusers_ext.metrics.sources import find_pairs

    if options.per_frame and not options.json:
        raise InputError("--per-frame needs --json, for the table has no room for it; --json FILE or - is accepted")
    if options.json not in (None, "-"):
        check_writable(options.json)
    if options.demo or options.demo_t2v:
        evaluate_demo(options)
        return
    _check_way(options)
    if options.reference_image is not None:
        evaluate_results(options)
        return
    prediction, truth = options.prediction, options.truth
    if prediction is None or truth is None:
        raise InputError("nothing to compare; PRED and GT, PRED and --reference-image, or --demo, are accepted")
    pairs = find_pairs(prediction, truth)
    for pair in pairs:
        check_pair(pair, options.length, options.resize)

    def made_of() -> Made:
        inputs = {"PRED": digest(prediction), "GT": digest(truth)}
        how = {"--length": options.length, "--resize": options.resize, "--per-frame": options.per_frame}
        return Made("evaluate", inputs, how)

    clips = [clip.path for pair in pairs for clip in (pair.prediction, pair.truth)]
    with _to_be_written(options, made_of, clips) as is_missing:
        if is_missing:
            results = (evaluate_pair(pair, options.length, options.resize) for pair in pairs)
            show([pair.name for pair in pairs], results, options.json, options.per_frame)


@contextlib.contextmanager
def _to_be_written(
    options: Options, made: "Made | Callable[[], Made]", inputs: "Iterable[str | os.PathLike | None]"
) -> Iterator[bool]:
    """Within it, the JSON file is recorded, which is none of the inputs. Yields False where it is kept, else True."""
    from ppdiffusers_ext.data.existing import check_existing
    from ppdiffusers_ext.data.outputs import check_outputs

    if options.json in (None, "-"):
        yield True
        return
    check_outputs([options.json], inputs)
    results = check_existing({options.json: made}, options.overwrite, options.skip_existing)
    if not results.missing:
        print(f"kept {options.json}")
    with results.recorded():
        yield bool(results.missing)


def show(
    names: Sequence[str], results: "Iterable[PairResult]", json_file: str | None = None, per_frame: bool = False
) -> None:
    """Print the table of `PairResult`s row by row as they come, and write the file; with "-" print JSON alone.

    Args:
        names: of the results.
        results: iterable.
    """
    from ppdiffusers_ext.metrics.report import Table, mean_scores, to_json, write_json

    if json_file == "-":
        print(to_json(list(results), per_frame), end="")
        return
    table, done = Table(names), []
    print(table.header())
    for result in results:
        print(table.row(result.name, result.scores), flush=True)
        done.append(result)
    print(table.row("mean", mean_scores(done)))
    if json_file:
        write_json(json_file, done, per_frame)
        print(f"wrote {json_file}")


def _check_way(options: Options) -> None:
    """Raises InputError for options of one way to evaluate that are given with another."""
    from ppdiffusers_ext.errors import InputError

    if options.reference_image is None:
        given = {"--driving-poses": options.driving_poses, "--dwpose": options.dwpose}
        given["--poses"] = None if options.poses == estimators.AUTO else options.poses
        if names := [name for name, value in given.items() if value is not None]:
            raise InputError(f"{names[0]} needs --reference-image, which is accepted with it")
    elif options.prediction is None:
        raise InputError("--reference-image needs results; PRED, a video or a folder of them, is accepted with it")
    elif options.truth is not None or options.length is not None or options.resize:
        raise InputError("--reference-image takes no GT, --length or --resize; --driving-poses is accepted with it")


def evaluate_results(options: Options) -> None:
    """Measure results without a truth, print a table, and write the numbers."""
    from ppdiffusers_ext.data.records import Made, digest
    from ppdiffusers_ext.metrics.report import Table
    from ppdiffusers_ext.metrics.results import COLUMNS, evaluate_item, find_items, key_numbers, mean_numbers, to_json
    from ppdiffusers_ext.pipelines.reporting import open_networks

    assert options.prediction is not None and options.reference_image is not None  # see `_check_way`
    items = find_items(options.prediction, options.reference_image, options.driving_poses)
    estimator = _estimator(options)
    open_for = functools.partial(open_networks, estimator=estimator)

    def made_of() -> Made:
        paths = {"PRED": options.prediction, "--reference-image": options.reference_image}
        paths["--driving-poses"] = options.driving_poses
        inputs = {name: digest(path) for name, path in paths.items() if path is not None}
        name = estimators.choose_estimator(options.poses, options.dwpose)
        return Made("evaluate", inputs, {"--per-frame": options.per_frame, "--poses": name})

    paths = [path for item in items for path in (item.clip.path, item.reference, item.driving_poses)]
    with _to_be_written(options, made_of, paths) as is_missing:
        if not is_missing:
            return
        results = (evaluate_item(item, open_for) for item in items)
        if options.json == "-":
            print(to_json(list(results), options.per_frame), end="")
            return
        table, done = Table([item.name for item in items], COLUMNS), []
        print(table.header())
        for values in results:
            row = {**key_numbers(values), "num_frames": values["num_frames"]}
            print(table.row(values["name"], row), flush=True)
            done.append(values)
        print(table.row("mean", mean_numbers(done)))
        _tell_reasons(done)
        if options.json:
            _write(options.json, to_json(done, options.per_frame))


def _estimator(options: Options) -> estimators.Estimator | None:
    """The estimator that is asked for; None for that of the package, which may be missing."""
    if estimators.choose_estimator(options.poses, options.dwpose) == estimators.EMBEDDED:
        return None
    return poses.make_estimator(options, "rgb", "cpu")


def _tell_reasons(results: "Sequence[dict[str, Any]]") -> None:
    """Say once each what was not measured, and why."""
    told = {f"{what}: {why}" for values in results for what, why in values["reasons"].items()}
    for line in sorted(told):
        print(f"not measured: {line}")


def evaluate_demo(options: Options) -> None:
    """Measure a small model, print a table of the means, and write the numbers of all clips."""
    from ppdiffusers_ext.data.records import Made, digest
    from ppdiffusers_ext.errors import InputError
    from ppdiffusers_ext.options import choose_seed

    others = ("prediction", "length", "reference_image", "driving_poses", "dwpose")
    if any(getattr(options, name) is not None for name in others) or options.per_frame or options.resize:
        raise InputError(
            f"{'--demo' if options.demo else '--demo-t2v'} takes no PRED and GT, --per-frame, --length, --resize, "
            "--reference-image, --driving-poses or --dwpose; --seed, --clips are accepted"
        )
    if options.demo and options.demo_t2v:
        raise InputError("--demo and --demo-t2v are two models; one of them is accepted")
    seed = choose_seed(options.seed)
    path = options.config or (DEMO_CONFIG if options.demo else TEXT_DEMO_CONFIG)
    config: Any = (_read_demo if options.demo else _read_text_demo)(path)
    model = config.pretrained_base_model_path if options.demo else config.model
    made = Made(
        "evaluate",
        {"--config": digest(path), "the model": digest(model)},
        {"--seed": seed, "--clips": options.clips, **({"--demo-t2v": True} if options.demo_t2v else {})},
    )
    with _to_be_written(options, made, [path]) as is_missing:
        if is_missing:
            (_measure_demo if options.demo else _measure_text_demo)(options, config, seed)


def _read_demo(path: str) -> "Pose2VidConfig":
    from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig

    return Pose2VidConfig.load(path)


def _read_text_demo(path: str) -> "EasyAnimateConfig":
    from ppdiffusers_ext.errors import InputError
    from ppdiffusers_ext.pipelines.easy_animate.check import check_files
    from ppdiffusers_ext.pipelines.easy_animate.options import EasyAnimateConfig

    config = EasyAnimateConfig.load(path, prompt="a person", output="unused.mp4").check("text")
    if config.width != config.height:
        raise InputError(f"{path} is of {config.width}x{config.height} pixels; a square, as was trained on, is needed")
    check_files(config)
    return config


def _measure_demo(options: Options, config: "Pose2VidConfig", seed: int) -> None:
    from tqdm import tqdm

    from ppdiffusers_ext.metrics.report import Table
    from ppdiffusers_ext.pipelines.animate_anyone.demo import DemoEvaluation, summary
    from ppdiffusers_ext.runtime import Runtime

    evaluation = DemoEvaluation(config, Runtime.choose(config.device, config.dtype, config.engine))
    scores = [evaluation.scores(seed, number) for number in tqdm(range(options.clips), unit="clip", disable=None)]
    result = summary(scores)
    if options.json != "-":
        table = Table(result["ways"])
        print(table.header())
        for way in result["ways"]:
            print(table.row(way, result["ways"][way]))
        print(f"PSNR above the better of the last two: {result['psnr_above_baseline']:.2f} dB")
        print(f"flicker below that of stage 1 per frame: {result['flicker_below_stage_1']:.1%}")
    _tell_numbers(options, {"seed": seed, "clips": options.clips, **result, "scores": scores})


def _measure_text_demo(options: Options, config: "EasyAnimateConfig", seed: int) -> None:
    from tqdm import tqdm

    from ppdiffusers_ext.metrics.report import Table
    from ppdiffusers_ext.pipelines.easy_animate.demo import COLUMNS, TextDemoEvaluation, summary
    from ppdiffusers_ext.runtime import Runtime

    evaluation = TextDemoEvaluation(config, Runtime.choose(config.device, config.dtype, config.engine))
    accuracy = evaluation.accuracy(seed, max(12, 3 * options.clips))
    scores = [evaluation.scores(seed, number) for number in tqdm(range(options.clips), unit="clip", disable=None)]
    ways = summary(scores)
    if options.json != "-":
        table = Table(ways, COLUMNS)
        print(table.header())
        for way, row in ways.items():
            print(table.row(way, {**row, "num_frames": config.num_frames}))
        print(f"motions of other rendered clips that are named rightly: {accuracy:.1%}")
    result = {"seed": seed, "clips": options.clips, "classifier_accuracy": accuracy, "ways": ways, "scores": scores}
    _tell_numbers(options, result)


def _tell_numbers(options: Options, result: "dict[str, Any]") -> None:
    """Print the numbers of a small model with `--json -`, or write them into its file."""
    import json

    text = json.dumps(result, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    if options.json == "-":
        print(text, end="")
    elif options.json:
        _write(options.json, text)


def _write(path: str, text: str) -> None:
    from pathlib import Path

    from ppdiffusers_ext.data.outputs import output_file

    with output_file(path) as temporary:
        Path(temporary).write_text(text, encoding="utf-8")
    print(f"wrote {path}")


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
