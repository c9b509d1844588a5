"""What a job of a list costs beside its work, and the memory of the run that gives out jobs.

    python -m benchmarks batch_jobs --json batch_jobs.json

The work is the demo model's: 2 frames of 64 x 64, 1 step; the inputs are read and checked, the files of the result
written. `scripts.batch` does --jobs of
it with one worker; the goal is less than 50 ms a job beside the work. Two parts add up to that:

- `run`: what passes from the first result to the last, less what the jobs took in their worker. It has the messages
  between processes, the manifest, stamps of files and what is printed.
- `worker`: what a job takes in a worker, less its work alone. Both are timed in turn in one process, --pairs times,
  with a pipeline that is loaded; of these the medians. It has options, checks, records and figures.

`start` is what passes before the first result, beside that: reading and checking the list, starting the worker,
loading the model and its first call. `resident` is the memory of the process that gives out jobs, after a tenth of
them, the half and all.
"""

import functools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import harness
from ppdiffusers_ext.errors import InputError

GOAL = 0.05  # seconds
JOB = {
    "config": "configs/inference/demo.yaml",
    "reference_image": "assets/reference.png",
    "pose_video": "assets/pose.mp4",
    "num_frames": 2,
    "num_inference_steps": 1,
    "width": 64,
    "height": 64,
}


def add_arguments(parser):
    parser.add_argument("--jobs", type=int, default=1000, metavar="N", help="of the list (default 1000)")
    parser.add_argument("--pairs", type=int, default=40, metavar="N", help="of a job and its work (default 40)")
    parser.add_argument("--small", action="store_true", help="few jobs and pairs, to try the benchmark itself")


def compete(options):
    count, pairs = (4, 2) if options.small else (options.jobs, options.pairs)
    if count < 2 or pairs < 1:
        raise InputError(f"--jobs {count} and --pairs {pairs} are too few; 2 and 1 or more are accepted")
    row = harness.run_contestant("batch_jobs", "pairs", {"pairs": pairs}, title="a job and its work")
    worker = statistics.median(row["job"]) - statistics.median(row["work"])
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        found = run_list(Path(folder), count)
    overhead = worker + found["run"]
    print(f"work {statistics.median(row['work']) * 1000:.0f} ms; start {found['start']:.1f} s")
    print(f"a job beside its work: {overhead * 1000:.1f} ms, of which in the worker {worker * 1000:.1f} ms")
    print("memory of the run: " + ", ".join(f"{size / 1e6:.1f} MB at job {at}" for at, size in found["resident"]))
    verdict = "reached" if overhead < GOAL else "missed"
    print(f"goal: {GOAL * 1000:.0f} ms: {verdict}")
    fields = {"overhead": overhead, "worker": worker, "work": statistics.median(row["work"]), **found}
    return {**fields, "reached": verdict == "reached", "pairs": row, "settings": {"jobs": count, "goal": GOAL}}


def run_list(folder, count):
    """A run of `scripts.batch`: seconds a job beside what the worker counts, those of the start, and memory."""
    import psutil
    import yaml

    jobs = [{"seed": number, "output": str(folder / f"{number}.mp4")} for number in range(count)]
    (folder / "jobs.yaml").write_text(yaml.safe_dump({"defaults": {**JOB, "command": "pose2vid"}, "jobs": jobs}))
    print(f"measuring a list of {count} jobs ...", file=sys.stderr, flush=True)
    begun, times, resident = time.monotonic(), [], []
    command = [sys.executable, "-m", "scripts.batch", str(folder / "jobs.yaml")]
    with subprocess.Popen(command, cwd=harness.ROOT, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.startswith("["):
                times.append(time.monotonic())
                if len(times) in (max(1, count // 10), max(1, count // 2), count):
                    resident.append((len(times), psutil.Process(process.pid).memory_info().rss))
    if process.returncode or len(times) != count:
        raise RuntimeError(f"the list ended with exit code {process.returncode} after {len(times)} jobs")
    seconds = [job["seconds"] for job in json.loads((folder / "jobs_report.json").read_text())["jobs"]]
    run = (times[-1] - times[0] - sum(seconds[1:])) / (count - 1)
    return {"run": run, "start": times[0] - begun, "resident": resident, "seconds": times[-1] - begun}


def pairs(settings):
    """Seconds of jobs, as a worker does them, and of their work alone, in turn."""
    from benchmarks.contestant import peak_bytes, timed
    from ppdiffusers_ext.batch.run import NAME
    from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig
    from ppdiffusers_ext.pipelines.animate_anyone.run import animate_case, open_pipeline, prepare_cases
    from scripts.batch_jobs import CommandWork

    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        work = CommandWork(str(harness.ROOT))
        work.open()
        given = {name: value for name, value in JOB.items() if name != "config"}
        config = Pose2VidConfig.load(JOB["config"], **given, output=f"{folder}/alone.mp4", seed=1)
        pipeline = open_pipeline(config, config.num_frames, show_progress=False)

        def job(number):
            values = {**JOB, "seed": number, "output": f"{folder}/{number}.mp4"}
            outcome = work({"command": "pose2vid", "values": values}, (NAME,))[NAME]
            if "error" in outcome:
                raise RuntimeError(outcome["error"])

        def animate_alone():
            animate_case(pipeline, config, prepare_cases(config)[0])

        times = {"job": [], "work": []}
        for number in range(settings["pairs"] + 2):
            calls = {"job": functools.partial(job, number), "work": animate_alone}
            for name in sorted(calls, reverse=number % 2 == 0):
                times[name].append(timed(calls[name]))
    times = {name: each[2:] for name, each in times.items()}  # the first ones warm up
    return {**times, "peak_bytes": peak_bytes()}


CONTESTANTS = {"pairs": pairs}
