"""Animate the person in a picture as the person in a video moves.

    python -m scripts.animate --reference-image me.png --driving-video dance.mp4
    python -m scripts.animate --batch jobs.yaml --report report.json

Without --config, and without the released weights, the small model that ships with the package draws cartoon people.
Poses of both are estimated, the video's are moved to where the picture's body is and to its size, the picture is
animated, and the video's sound is copied. Beside the result come the same beside picture and skeletons, and a contact
sheet; with --debug also an overlay of the driving video; with --report also a page that says how good the result is:
whether its face is the picture's, how far its poses are from the driving ones, and how its colours drift.

A batch file has `jobs:`, a list of mappings with the keys reference_image, driving_video and output, and frames, fps,
resize, person, align, unseen_joints, gap, smoothing, audio, seed. A job that fails, for whatever reason, does not
stop the others (exit code 1 then). --report FILE has a row for each job, and is there after Ctrl-C too. Outputs that
exist are refused: --overwrite replaces them, --skip-existing passes over their jobs.
"""

import argparse
import dataclasses
import functools
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if not __package__:  # run as a file, as Paddle's launcher does
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    __package__ = "scripts"

from ppdiffusers_ext.distributed.ranks import launched  # noqa: E402
from ppdiffusers_ext.errors import InputError, shown_path  # noqa: E402
from ppdiffusers_ext.options import merge, option, path_option  # noqa: E402
from ppdiffusers_ext.pipelines.jobs import Job, load_model_config, make_job, read_jobs  # noqa: E402
from ppdiffusers_ext.pipelines.options import RunOptions  # noqa: E402
from ppdiffusers_ext.pipelines.systems import POSED, SYSTEMS, get_system  # noqa: E402
from ppdiffusers_ext.preprocess import estimators  # noqa: E402

from . import poses  # noqa: E402
from .command import ArgumentParser, describe, run, tell_error  # noqa: E402
from .options import TRUTH, ConfigOptions, add_options, given_options, refuse_others  # noqa: E402
from .ranks import divided  # noqa: E402

if TYPE_CHECKING:
    from ppdiffusers_ext.pipelines.animation import Animator

# What a job says instead of the system's options.
_OF_JOBS = frozenset("reference_image pose_video driving_poses output fps resize seed test_cases report".split())


@dataclass(frozen=True, kw_only=True)
class Options(ConfigOptions, poses.DrawingOptions):
    system: str = option(POSED[0], choices=POSED, help=" or ".join(POSED), metavar="NAME")
    batch: str | None = path_option(None, help="YAML file of many jobs, instead of one")
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


def read_config(options: Options) -> tuple[Any, list[Job]]:
    """The configuration of the system that is asked for, and the list of jobs; both are checked."""
    cls, how = get_system(options.system, POSED).options, given_options(options.given, Job)
    typed = argparse.Namespace(**{name: value for name, value in vars(options.given).items() if name != "report"})
    refuse_others(typed, cls, [Job, *(SYSTEMS[name].options for name in POSED)], options.system, how)
    if options.batch:
        if launched() > 1:
            raise InputError("--batch is for one process; jobs one by one are accepted where several make one result")
        if any(name in how for name in ("reference_image", "driving_video", "output")):
            raise InputError(
                "--batch has pictures, videos and outputs of its own; it or the three options is accepted"
            )
        jobs = read_jobs(options.batch, **how)
    else:
        if _rows_file(options) is not None:
            raise InputError(
                f"--report {shown_path(options.report)} is for the jobs of --batch, which is not given; --report "
                "without a name, which writes a page beside the result, is accepted"
            )
        jobs = [make_job(how)]
    config = _load_config(options, typed)
    config.check()
    return config, jobs


def _rows_file(options: Options) -> str | None:
    """The file that gets a row for each job, or None: `--report` with no file is about results."""
    return None if options.report in TRUTH else options.report


def _load_config(options: Options, typed: argparse.Namespace) -> Any:
    """The configuration that is asked for; that of the small model that ships if there is no other model.

    typed: what was typed for the options of the system.
    """
    system = get_system(options.system, POSED)
    given = {name: value for name, value in given_options(typed, system.options).items() if name not in _OF_JOBS}
    given |= merge({"report": TRUTH.get(options.report or "")})
    config, is_demo = load_model_config(options.system, options.config, given, options.given.reference_image)
    if is_demo:
        print(
            "Model: the small demo model, which draws cartoon people; "
            f"`python scripts/download_weights.py --system {options.system}` fetches the released weights",
            file=sys.stderr,
        )
    return config


def work(options: Options) -> int:
    """Run the job, or all of a batch. Returns 1 if one of a batch failed."""
    config, jobs = read_config(options)
    if not options.batch:
        jobs[0].check_inputs()
    get_system(options.system).check_files(config)

    from ppdiffusers_ext.pipelines import registry
    from ppdiffusers_ext.pipelines.animation import Animator
    from ppdiffusers_ext.runtime import Runtime

    system = registry.SYSTEMS[options.system](config)
    device = Runtime.choose(system.device, system.dtype, system.engine).place.partition(":")[0]
    style = poses.style_of(options, system.style)
    progress = poses.progress("poses")
    open_estimator = functools.partial(poses.make_estimator, options, system.channels, device=device)
    networks = estimators.estimator_files(options.poses, options.dwpose)
    animator = Animator(system, open_estimator, style, progress, config.num_frames, options.debug, networks)
    if options.batch:
        return _run_all(animator, jobs, config, options)
    inputs = animator.open(jobs[0])  # an output that is an input is told as that
    held = animator.hold(jobs, config.overwrite, config.skip_existing)
    if not held.missing:
        print(f"kept          {jobs[0].output}")
        return 0
    with held.recorded():
        _tell(animator.run(jobs[0], inputs))
    return 0


def _run_all(animator: "Animator", jobs: list[Job], config: Any, options: Options) -> int:
    from pathlib import Path

    from ppdiffusers_ext.data.outputs import check_outputs, moved_by

    rows_file = _rows_file(options)
    animator.check_apart(jobs, rows_file)
    if rows_file:
        inputs = [path for job in jobs for path in (job.reference_image, job.driving_video)]
        check_outputs([rows_file], [options.batch, *inputs])
    held = animator.hold(jobs, config.overwrite, config.skip_existing)
    if rows_file:
        held.hold([rows_file])
    if held.missing:
        _ = animator.estimator  # what is wrong with it is told once, before any job
    rows = [{"output": job.output, "state": "not begun"} for job in jobs]
    for number, (job, row) in enumerate(zip(jobs, rows)):
        print(f"job {number + 1} of {len(jobs)}: {job.output}")
        if Path(job.output) not in held.missing:
            row["state"] = "was there"
            continue
        row["state"] = "stopped"
        try:
            with moved_by(f"output of job {number}"), held.recorded():
                result = animator.run(job)
            row["state"] = "made"
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever a job raises, and be it SystemExit, is its own affair
            row.update(state="failed", error=describe(error))
            if options.debug:
                traceback.print_exc()
            tell_error(row["error"])
        else:
            _tell(result)
        finally:
            _report(rows, rows_file)
    states = [row["state"] for row in rows]
    print(", ".join(f"{states.count(state)} {state}" for state in ("made", "was there", "failed")))
    _report(rows, rows_file)
    return 1 if "failed" in states else 0


def _report(rows: list[dict[str, str]], path: str | None) -> None:
    """Write what has become of the jobs so far, if that is asked for."""
    import json
    from pathlib import Path

    from ppdiffusers_ext.data.outputs import output_file

    if path:
        with output_file(path) as temporary:
            text = json.dumps(rows, indent=1, ensure_ascii=False) + "\n"
            Path(temporary).write_text(text, encoding="utf-8", errors="backslashreplace")


def _tell(result: Any) -> None:
    print(f"video         {result.video}")
    print(f"side by side  {result.side_by_side}")
    print(f"preview       {result.contact_sheet}")
    if result.report is not None:
        print(f"report        {result.report}")


if __name__ == "__main__":
    sys.exit(run(make_parser(), divided(work)))
