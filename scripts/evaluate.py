"""Compare generated videos with the true ones, or measure them without these.

    python -m scripts.evaluate result.mp4 truth.mp4
    python -m scripts.evaluate results/ truth/ --json scores.json
    python -m scripts.evaluate results/ truth/ --protocol disco --json scores.json --html scores.html
    python -m scripts.evaluate results/ --reference-image person.png --driving-poses poses.json --json report.json
    python -m scripts.evaluate --demo --seed 7

PSNR, SSIM, L1 and flicker are against the truth. Both are a video or a folder of frames (ordered by the numbers in
their names), or both are folders of videos, which are paired by their names. Frame by frame, in order: frame rates are
not looked at.

PSNR overflow is the number of many papers on human dance, computed in uint8 where it wraps around: too high, and only
for comparison with theirs. docs/metrics.md defines all of them.

--protocol computes the metrics of papers as they do (LPIPS, FID, FID-VID, FVD, csim), over the clips of two folders:
which metrics, frames, sizes and networks is fixed by the protocol, and printed with the numbers. --metrics names some.
Networks that do not ship with the package are fetched by scripts/download_weights.py. --state keeps what is computed.

--reference-image measures results without a truth: identity of the face (csim), errors of poses against the driving
ones, and drift of colours and sharpness, each against the picture; as --report of the other commands does.
--driving-poses has the poses of the driving video, in pixels of the result, as scripts.estimate_poses writes them.
Both may be folders with a file for each result, of its name.

--demo measures the small model of `make demo` on drawn people and motions that follow from the seed, beside the model
of stage 1 frame by frame, the reference repeated, and the mean of the training frames.

--demo-t2v measures the small text-to-video model of `make train-demo-easy-animate` on prompts of combinations that it
was not trained on: how often shirt, background and motion are what the prompt says, beside rendered clips and chance.
"""

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ppdiffusers_ext.options import SEEDS, option, path_option
from ppdiffusers_ext.pipelines.evaluating_options import EvaluationOptions
from ppdiffusers_ext.preprocess import estimators

from . import poses
from .command import ArgumentParser, run

if TYPE_CHECKING:
    from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig
    from ppdiffusers_ext.pipelines.easy_animate.options import EasyAnimateConfig

_DEMO = "with --demo"
DEMO_CONFIG, TEXT_DEMO_CONFIG = "configs/inference/demo.yaml", "configs/inference/easy_animate/demo.yaml"


@dataclass(frozen=True, kw_only=True)
class Options(poses.FinderOptions, EvaluationOptions):
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
    """Evaluate in the way that the options ask for."""
    from ppdiffusers_ext.errors import InputError
    from ppdiffusers_ext.pipelines.evaluating import check_way, evaluate_pairs, evaluate_results

    if options.demo or options.demo_t2v:
        evaluate_demo(options)
        return
    check_way(options)
    if options.reference_image is None:
        given = {"--driving-poses": options.driving_poses, "--dwpose": options.dwpose}
        given["--poses"] = None if options.poses == estimators.AUTO else options.poses
        if names := [name for name, value in given.items() if value is not None]:
            raise InputError(f"{names[0]} needs --reference-image, which is accepted with it")
    if options.protocol is not None or options.metrics is not None:
        from ppdiffusers_ext.pipelines.evaluating_by_protocol import evaluate_by_protocol

        evaluate_by_protocol(options)
    elif options.reference_image is not None:
        evaluate_results(options, estimators.choose_estimator(options.poses, options.dwpose), _estimator(options))
    else:
        evaluate_pairs(options)


def _estimator(options: Options) -> estimators.Estimator | None:
    """The estimator that is asked for; None for that of the package, which may be missing."""
    if estimators.choose_estimator(options.poses, options.dwpose) == estimators.EMBEDDED:
        return None
    return poses.make_estimator(options, "rgb", "cpu")


def evaluate_demo(options: Options) -> None:
    """Measure a small model, print a table of the means, and write the numbers of all clips."""
    from ppdiffusers_ext.data.records import Made, digest
    from ppdiffusers_ext.errors import InputError
    from ppdiffusers_ext.options import choose_seed
    from ppdiffusers_ext.pipelines.evaluating import to_be_written

    others = ["prediction", "length", "reference_image", "driving_poses", "dwpose"]
    others += ["protocol", "metrics", "paired", "csv", "html", "state"]
    if any(getattr(options, name) is not None for name in others) or options.per_frame or options.resize:
        raise InputError(
            f"{'--demo' if options.demo else '--demo-t2v'} takes no PRED and GT, --per-frame, --length, --resize, "
            "--reference-image, --driving-poses, --dwpose, --protocol and what belongs to it; --seed, --clips, --json "
            "are accepted"
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
    with to_be_written(options, [options.json], made, [path]) as files:
        if files or not options.json:
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
    from ppdiffusers_ext.pipelines.evaluating import tell_numbers
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
    tell_numbers(options.json, {"seed": seed, "clips": options.clips, **result, "scores": scores})


def _measure_text_demo(options: Options, config: "EasyAnimateConfig", seed: int) -> None:
    from tqdm import tqdm

    from ppdiffusers_ext.metrics.report import Table
    from ppdiffusers_ext.pipelines.easy_animate.demo import COLUMNS, TextDemoEvaluation, summary
    from ppdiffusers_ext.pipelines.evaluating import tell_numbers
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
    tell_numbers(options.json, result)


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
