"""Animate the person in a picture as the person in a video moves.

    python -m scripts.animate --reference-image me.png --driving-video dance.mp4
    python -m scripts.animate --batch jobs.yaml --report report.json

Without --config, and without the released weights, the small model that ships with the package draws cartoon people.
Poses of both are estimated, the video's are moved to where the picture's body is and to its size, the picture is
animated, and the video's sound is copied. Beside the result come the same beside picture and skeletons, and a contact
sheet; with --debug also an overlay of the driving video; with --report also a page that says how good the result is:
whether its face is the picture's, how far its poses are from the driving ones, and how its colours drift.

--batch is `python -m scripts.batch FILE` with one worker, for jobs that say reference_image, driving_video and output;
options given here are those of jobs that say none. --report FILE has a row for each job, and is there after Ctrl-C
too. What is done is passed over; --overwrite makes all anew.
"""

import argparse
import dataclasses
import functools
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if not __package__:  # run as a file, as Paddle's launcher does
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    __package__ = __import__("scripts").__name__

from ppdiffusers_ext.errors import InputError, shown_path  # noqa: E402
from ppdiffusers_ext.options import merge, option, path_option  # noqa: E402
from ppdiffusers_ext.pipelines.jobs import Job, load_model_config, make_job  # noqa: E402
from ppdiffusers_ext.pipelines.options import RunOptions  # noqa: E402
from ppdiffusers_ext.pipelines.systems import POSED, SYSTEMS, get_system  # noqa: E402
from ppdiffusers_ext.preprocess import estimators  # noqa: E402

from . import poses  # noqa: E402
from .command import ArgumentParser, run  # noqa: E402
from .options import TRUTH, ConfigOptions, add_options, given_options, refuse_others, tell_model  # noqa: E402
from .ranks import divided  # noqa: E402

if TYPE_CHECKING:
    from ppdiffusers_ext.batch.manifest import Entry

# What a job says instead of the system's options.
_OF_JOBS = frozenset("reference_image pose_video driving_poses output fps resize seed test_cases report".split())
# Options of a batch as a whole, or of a file that lists jobs.
_OF_LISTS = frozenset("batch report overwrite skip_existing log_json spelled".split())
_STATES = {"made": "made", "kept": "was there", "failed": "failed", "begun": "stopped"}


@dataclass(frozen=True, kw_only=True)
class Options(ConfigOptions, poses.DrawingOptions):
    system: str = option(POSED[0], choices=POSED, help=" or ".join(POSED), metavar="NAME")
    batch: str | None = path_option(None, help="list of many jobs, instead of one; see scripts.batch")
    report: str | None = path_option(
        None,
        help="say how good each result is, in a page and a JSON file beside it; with FILE: write what became of each "
        "job of --batch as JSON",
        bare="true",
    )


def make_parser() -> ArgumentParser:
    parser = add_options(ArgumentParser("python -m scripts.animate", __doc__, Options), Job)
    for name in POSED:
        cls = SYSTEMS[name].options
        add_options(parser, cls, _of_system(cls), defaults=False)
    return parser


def _of_system(cls: type[RunOptions]) -> list[str]:
    """The fields of a system's options that are no job's."""
    return [item.name for item in dataclasses.fields(cls) if item.name not in _OF_JOBS]


def read_config(options: Options) -> tuple[Any, Job]:
    """The configuration of the system that is asked for, and the job; both are checked."""
    cls, how = get_system(options.system, POSED).options, given_options(options.given, Job)
    typed = argparse.Namespace(**{name: value for name, value in vars(options.given).items() if name != "report"})
    refuse_others(typed, cls, [Job, *(SYSTEMS[name].options for name in POSED)], options.system, how)
    if options.report not in (None, *TRUTH):
        raise InputError(
            f"--report {shown_path(options.report)} is for the jobs of --batch, which is not given; --report "
            "without a name, which writes a page beside the result, is accepted"
        )
    job = make_job(how)
    config = _load_config(options, typed)
    config.check()
    return config, job


def _load_config(options: Options, typed: argparse.Namespace) -> Any:
    """The configuration that is asked for; that of the small model that ships if there is no other model.

    typed: what was typed for the options of the system.
    """
    system = get_system(options.system, POSED)
    given = {name: value for name, value in given_options(typed, system.options).items() if name not in _OF_JOBS}
    given |= merge({"report": TRUTH.get(options.report or "")})
    config, is_demo = load_model_config(options.system, options.config, given, options.given.reference_image)
    tell_model(options.system, is_demo)
    return config


def checked(options: Options) -> tuple[Any, Job]:
    """As `read_config`; the files of the model, of the networks that estimate poses, and of the job are there."""
    config, job = read_config(options)
    job.check_inputs()
    get_system(options.system).check_files(config)
    estimators.estimator_files(options.poses, options.dwpose)
    return config, job


def work(options: Options, workers: int = 1) -> int:
    """Run the job, or all of a batch. Returns 1 if one of a batch failed.

    workers: of a batch; see `scripts.batch`.
    """
    if options.batch:
        return _run_list(options, workers)
    config, job = checked(options)

    from ppdiffusers_ext.pipelines import registry
    from ppdiffusers_ext.pipelines.animation import Animator
    from ppdiffusers_ext.pipelines.warm import current_warm
    from ppdiffusers_ext.runtime import Runtime

    system = registry.SYSTEMS[options.system](config)
    device = Runtime.choose(system.device, system.dtype, system.engine).place.partition(":")[0]
    style = poses.style_of(options, system.style)
    progress = poses.progress("poses")
    make_estimator = functools.partial(poses.make_estimator, options, system.channels, device=device)
    key, warm = (options.poses, options.dwpose, system.channels, device), current_warm()
    open_estimator = make_estimator if warm is None else functools.partial(warm.beside, key, make_estimator)
    networks = estimators.estimator_files(options.poses, options.dwpose)
    animator = Animator(system, open_estimator, style, progress, config.num_frames, options.debug, networks)
    inputs = animator.open(job)  # an output that is an input is told as that
    held = animator.hold([job], config.overwrite, config.skip_existing)
    if not held.missing:
        print(f"kept          {job.output}")
        return 0
    with held.recorded():
        _tell(animator.run(job, inputs))
    return 0


def _run_list(options: Options, workers: int) -> int:
    """What `scripts.batch` does, with the options that were given for jobs that say none."""
    from . import batch

    values = vars(options.given)
    if any(values.get(name) is not None for name in ("reference_image", "driving_video", "output")):
        raise InputError("--batch has pictures, videos and outputs of its own; it or the three options is accepted")
    given = {name: value for name, value in values.items() if name not in _OF_LISTS and value is not None}
    rows = None if options.report in (None, *TRUTH) else Path(str(options.report))
    given |= merge({"report": options.report if rows is None else None})
    how = batch.Options(jobs=str(options.batch), workers=workers, overwrite=values.get("overwrite") == "true")
    if rows is None:
        return batch.run_list(how, given)
    return batch.run_list(how, given, [rows], functools.partial(_write_rows, rows))


def _write_rows(path: "Path", entries: "Sequence[Entry]", done: Collection[str]) -> None:
    """Write what became of each job as JSON.

    done: outputs of the jobs that this run has worked on.
    """
    import json

    from ppdiffusers_ext.batch.manifest import FINISHED
    from ppdiffusers_ext.data.outputs import output_file

    rows = []
    for entry in entries:
        is_old = entry.state in FINISHED and entry.output not in done
        waiting = "stopped" if entry.attempts else "not begun"
        row = {"output": entry.output, "state": "was there" if is_old else _STATES.get(entry.state, waiting)}
        rows.append({**row, **({"error": entry.reason} if row["state"] == "failed" else {})})
    with output_file(path) as temporary:
        text = json.dumps(rows, indent=1, ensure_ascii=False) + "\n"
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def _tell(result: Any) -> None:
    print(f"video         {result.video}")
    print(f"side by side  {result.side_by_side}")
    print(f"preview       {result.contact_sheet}")
    if result.report is not None:
        print(f"report        {result.report}")


if __name__ == "__main__":
    sys.exit(run(make_parser(), divided(work)))
