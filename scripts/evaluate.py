"""Compare generated videos with the true ones: PSNR, SSIM, L1 and flicker.

    python -m scripts.evaluate result.mp4 truth.mp4
    python -m scripts.evaluate results/ truth/ --json scores.json
    python -m scripts.evaluate --demo --seed 7

Both are a video or a folder of frames (in the order of the numbers in their names), or both are folders of videos,
which are paired by their names. Frame by frame, in order: frame rates are not looked at.

PSNR overflow is the number of many papers on human dance, computed in uint8 where it wraps around: too high, and only
for comparison with theirs. docs/metrics.md defines all of them.

--demo measures the small model of `make demo` on drawn people and motions that follow from the seed, beside the model
of stage 1 frame by frame, the reference repeated, and the mean of the training frames.
"""

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ppdiffusers_ext.options import FRAMES, SEEDS, ExistingOptions, option, path_option

from .command import ArgumentParser, run
from .options import CommandOptions

if TYPE_CHECKING:
    from ppdiffusers_ext.data.records import Made
    from ppdiffusers_ext.metrics.evaluation import PairResult
    from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig

_DEMO = "with --demo"


@dataclass(frozen=True, kw_only=True)
class Options(CommandOptions, ExistingOptions):
    prediction: str | None = path_option(
        None, help="generated video, folder of frames or folder of videos", is_positional=True, metavar="PRED"
    )
    truth: str | None = path_option(None, help="what it should be (ground truth)", is_positional=True, metavar="GT")
    json: str | None = path_option(None, help="write the numbers to a file; - prints them instead of the table")
    per_frame: bool = option(False, help="with --json: also the numbers of every frame")
    length: int | None = option(None, *FRAMES, help="compare only the first N frames", flags=("-L",))
    resize: bool = option(False, help="bring PRED to the size of GT (bicubic)")
    demo: bool = option(False, help="measure the small model instead of PRED", group=_DEMO)
    seed: int = option(0, *SEEDS, help="random seed of people, motions and noise; -1 draws one", group=_DEMO)
    clips: int = option(20, 1, 10_000, help="number of clips, of 24 frames each", group=_DEMO)
    config: str = path_option("configs/inference/demo.yaml", help="YAML file of the small model", group=_DEMO)


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
    if options.demo:
        evaluate_demo(options)
        return
    prediction, truth = options.prediction, options.truth
    if prediction is None or truth is None:
        raise InputError("nothing to compare; PRED and GT, or --demo, are accepted")
    pairs = find_pairs(prediction, truth)
    for pair in pairs:
        check_pair(pair, options.length, options.resize)

    def made_of() -> Made:
        inputs = {"PRED": digest(prediction), "GT": digest(truth)}
        how = {"--length": options.length, "--resize": options.resize, "--per-frame": options.per_frame}
        return Made("evaluate", inputs, how)

    with _to_be_written(options, made_of) as is_missing:
        if is_missing:
            results = (evaluate_pair(pair, options.length, options.resize) for pair in pairs)
            show([pair.name for pair in pairs], results, options.json, options.per_frame)


@contextlib.contextmanager
def _to_be_written(options: Options, made: "Made | Callable[[], Made]") -> Iterator[bool]:
    """Within it, the JSON file is recorded. Yields whether there is anything to do: False where it is kept."""
    from ppdiffusers_ext.data.existing import check_existing

    if options.json in (None, "-"):
        yield True
        return
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


def evaluate_demo(options: Options) -> None:
    """Measure the small model, print a table of the means, and write the numbers of all clips."""
    from ppdiffusers_ext.data.records import Made, digest
    from ppdiffusers_ext.errors import InputError
    from ppdiffusers_ext.options import choose_seed
    from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig

    if options.prediction is not None or options.per_frame or options.length is not None or options.resize:
        raise InputError(
            "--demo takes no PRED and GT, --per-frame, --length or --resize; --seed, --clips are accepted"
        )
    seed = choose_seed(options.seed)
    config = Pose2VidConfig.load(options.config)
    inputs = {"--config": digest(options.config), "the model": digest(config.pretrained_base_model_path)}
    with _to_be_written(options, Made("evaluate", inputs, {"--seed": seed, "--clips": options.clips})) as is_missing:
        if is_missing:
            _measure_demo(options, config, seed)


def _measure_demo(options: Options, config: "Pose2VidConfig", seed: int) -> None:
    import json
    from pathlib import Path

    from tqdm import tqdm

    from ppdiffusers_ext.data.outputs import output_file
    from ppdiffusers_ext.metrics.report import Table
    from ppdiffusers_ext.pipelines.animate_anyone.demo import DemoEvaluation, summary
    from ppdiffusers_ext.runtime import Runtime

    evaluation = DemoEvaluation(config, Runtime.choose(config.device, config.dtype))
    scores = [evaluation.scores(seed, number) for number in tqdm(range(options.clips), unit="clip", disable=None)]
    result = {"seed": seed, "clips": options.clips, **summary(scores)}
    text = json.dumps({**result, "scores": scores}, indent=1, allow_nan=False) + "\n"
    if options.json == "-":
        print(text, end="")
        return
    table = Table(result["ways"])
    print(table.header())
    for way in result["ways"]:
        print(table.row(way, result["ways"][way]))
    print(f"PSNR above the better of the last two: {result['psnr_above_baseline']:.2f} dB")
    print(f"flicker below that of stage 1 per frame: {result['flicker_below_stage_1']:.1%}")
    if options.json:
        with output_file(options.json) as temporary:
            Path(temporary).write_text(text, encoding="utf-8")
        print(f"wrote {options.json}")


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
