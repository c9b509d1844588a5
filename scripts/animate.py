"""Animate the person in a picture as the person in a video moves.

    python -m scripts.animate --reference-image me.png --driving-video dance.mp4 --output out.mp4
    python -m scripts.animate --batch jobs.yaml --report report.json

Poses of both are estimated, the video's are moved to where the picture's body is and to its size, the picture is
animated, and the video's sound is copied. Beside the result come the same beside picture and skeletons, and a contact
sheet; with --debug also an overlay of the driving video. A batch file has `jobs:`, a list of mappings with the keys
reference_image, driving_video and output, and frames, fps, resize, person, align, gap, smoothing, audio, seed; jobs
whose output is there are passed over, and one that fails, for whatever reason, does not stop the others (exit code 1
then). The report has a row for each job, and is there after Ctrl-C too.
"""

import sys
import traceback

from . import pose2vid, poses
from .command import ArgumentParser, describe, real, run, whole


def make_parser():
    parser = ArgumentParser(prog="python -m scripts.animate", description=__doc__, reads_checkpoints=True)
    parser = poses.add_options(parser)
    parser.add_argument("--config", metavar="FILE", help="YAML file of the model (default: the system's in configs)")
    parser.add_argument(
        "--system", default="animate_anyone", metavar="NAME", help="or stable_animator (default: animate_anyone)"
    )
    parser.add_argument("--reference-image", metavar="FILE", help="picture of the person")
    parser.add_argument("--driving-video", metavar="FILE", help="video of a person who moves, or a folder of pictures")
    parser.add_argument("--batch", metavar="FILE", help="YAML file of many jobs, instead of these")
    parser.add_argument("--report", metavar="FILE", help="write what became of each job of --batch as JSON")
    parser.add_argument("--frames", metavar="A:B", help="of the driving video, B left out (default: all)")
    parser.add_argument("--resize", metavar="WAY", help="of the picture: fit, crop or pad (default: crop)")
    parser.add_argument("--person", metavar="WHO", help="largest, surest, left, right, or a number (default: largest)")
    parser.add_argument("--align", metavar="WAY", help="shape, original or none (default: shape)")
    parser.add_argument(
        "--gap", type=whole(0, 100_000), metavar="N", help="frames of absence that are filled (default: 5)"
    )
    parser.add_argument("--smoothing", type=real(0, 1000), metavar="X", help="of motion; 0 is none (default: 1)")
    parser.add_argument("--no-audio", dest="audio", action="store_false", default=None, help="copy no sound")
    return pose2vid.add_options(parser)


def work(options):
    """Run the job, or all of a batch. Returns 1 if one of a batch failed."""
    from ppdiffusers_ext.errors import InputError
    from ppdiffusers_ext.pipelines.animation import Animator, Job, read_jobs
    from ppdiffusers_ext.pipelines.registry import get_system
    from ppdiffusers_ext.runtime import Runtime

    kind = get_system(options.system)
    named = {name: getattr(options, name) for name in ("reference_image", "driving_video", "output")}
    names = ("frames", "fps", "resize", "person", "align", "gap", "smoothing", "audio", "seed")
    how = {name: value for name in names if (value := getattr(options, name)) is not None}
    if options.batch:
        if any(value is not None for value in named.values()):
            raise InputError(
                "--batch has pictures, videos and outputs of its own; it or the three options is accepted"
            )
        jobs = read_jobs(options.batch, **how)
    else:
        if missing := [f"--{name.replace('_', '-')}" for name, value in named.items() if value is None]:
            raise InputError(f"{', '.join(missing)} is missing; all three, or --batch, are needed")
        jobs = [Job(**named, **how)]
    overrides = {**pose2vid.read_overrides(options, options.system), "output": None, "fps": None, "test_cases": {}}
    system = kind(options.config or kind.config_file, overrides)
    device = Runtime.choose(system.device, system.dtype).device.partition(":")[0]
    estimator = poses.make_estimator(options, system.channels, device=device)
    style = poses.style_of(options, system.style)
    progress = poses.progress("poses")
    animator = Animator(system, estimator, style, progress, options.length, keep=options.debug)
    if options.batch:
        return _run_all(animator, jobs, options)
    _tell(animator.run(jobs[0]))
    return 0


def _run_all(animator, jobs, options):
    from pathlib import Path

    from ppdiffusers_ext.data.outputs import check_outputs, moved_by
    from ppdiffusers_ext.errors import printable

    animator.check_apart(jobs, options.report)
    if options.report:
        inputs = [path for job in jobs for path in (job.reference_image, job.driving_video)]
        check_outputs([options.report], [options.batch, *inputs])
    rows = [{"output": job.output, "state": "not begun"} for job in jobs]
    for number, (job, row) in enumerate(zip(jobs, rows)):
        print(f"job {number + 1} of {len(jobs)}: {job.output}")
        if Path(job.output).exists():
            row["state"] = "was there"
            continue
        row["state"] = "stopped"
        try:
            with moved_by(f"output of job {number}"):
                _tell(animator.run(job))
            row["state"] = "made"
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever a job raises, and be it SystemExit, is its own affair
            row.update(state="failed", error=describe(error))
            if options.debug:
                traceback.print_exc()
            print(f"error: {printable(row['error'])}", file=sys.stderr)
        finally:
            _report(rows, options.report)
    states = [row["state"] for row in rows]
    print(", ".join(f"{states.count(state)} {state}" for state in ("made", "was there", "failed")))
    _report(rows, options.report)
    return 1 if "failed" in states else 0


def _report(rows, path):
    """Write what has become of the jobs so far, if that is asked for."""
    import json
    from pathlib import Path

    from ppdiffusers_ext.data.outputs import output_file

    if path:
        with output_file(path) as temporary:
            text = json.dumps(rows, indent=1, ensure_ascii=False) + "\n"
            Path(temporary).write_text(text, encoding="utf-8", errors="backslashreplace")


def _tell(result):
    print(f"video         {result.video}")
    print(f"side by side  {result.side_by_side}")
    print(f"preview       {result.contact_sheet}")


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
