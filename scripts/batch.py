"""Run a list of jobs of any command: many pictures, videos and texts, with models that are loaded once.

    python -m scripts.batch jobs.yaml
    python -m scripts.batch jobs.csv --workers 2
    python -m scripts.batch jobs.yaml --shard 3/8
    python -m scripts.batch jobs.yaml --engine ray --address ray-head:6379 --workers 16

A YAML file has `jobs:`, a list of mappings, and may have `defaults:`; a CSV file has a heading. The keys are `command`
(animate, if left out; pose2vid, stable_animator, predict_t2v, predict_i2v or predict_v2v) and the options of that
command, of which each job needs `output`. What is wrong with any job is told before the first one begins.

What became of each job is written beside the list as it happens (NAME_manifest.jsonl), and at the end a page and JSON
(NAME_report.html, NAME_report.json). A run that was stopped goes on when it is started again: what is done, of the
same options and files, is not done again. A job that fails, or ends its worker, stops no other one; the next run tries
it again, up to --attempts times. Exit code 1 if a job failed.

With --shard I/N a run does every N-th job, with a manifest and a report of its own: nothing else is needed to divide a
list among machines. A run without --shard then does what is missing, and reports on all.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppdiffusers_ext.batch.job_list import BatchJob, check_files_apart, read_job_list, shard_of
from ppdiffusers_ext.batch.manifest import FAILED, STATES, Manifest
from ppdiffusers_ext.data.existing import hold_outputs
from ppdiffusers_ext.data.outputs import check_outputs
from ppdiffusers_ext.distributed.ranks import launched
from ppdiffusers_ext.environment import available_cores
from ppdiffusers_ext.errors import InputError, shown_path
from ppdiffusers_ext.options import option, path_option
from ppdiffusers_ext.workers.tasks import ENGINES, LOCAL, Engine

from .command import ArgumentParser, run, tell_error
from .options import CommandOptions, log_option

if TYPE_CHECKING:
    from ppdiffusers_ext.batch.manifest import Entry
    from ppdiffusers_ext.batch.run import Progress

RUNNING = "Running"


@dataclass(frozen=True, kw_only=True)
class Options(CommandOptions):
    jobs: str = path_option(help="list of jobs (YAML or CSV)", is_positional=True, metavar="JOBS")
    engine: str = option(LOCAL, choices=ENGINES, help="what runs the jobs: local or ray", group=RUNNING)
    workers: int = option(
        1, 0, 1024, help="number of processes, each with models of its own and with a GPU where there are any; 0 does "
        "the jobs in this one, which a job may end",
        flags=("-j",), group=RUNNING,
    )  # fmt: skip
    threads: int | None = option(
        None,
        1,
        1024,
        help="processors of each worker",
        unset="those of the machine, divided by --workers",
        group=RUNNING,
    )
    address: str | None = option(
        None, help="cluster of --engine ray", unset="RAY_ADDRESS, or a Ray of this run's own", metavar="HOST:PORT",
        group=RUNNING,
    )  # fmt: skip
    shard: str | None = option(
        None,
        pattern=r"[1-9][0-9]{0,5}/[1-9][0-9]{0,5}",
        accepted="I/N with I from 1 to N",
        help="do the I-th of N parts of the jobs",
        metavar="I/N",
        group=RUNNING,
    )
    attempts: int = option(3, 1, 1000, help="failures after which a job is not tried again", group=RUNNING)
    retry_failed: bool = option(False, help="try all jobs again that failed, however many times", group=RUNNING)
    job_timeout: float | None = option(
        None, 1, 10_000_000, help="seconds that a job may take", unset="any number", metavar="SECONDS", group=RUNNING
    )
    overwrite: bool = option(False, help="replace outputs that exist, and do all jobs again")
    manifest: str | None = path_option(
        None, help="file of what became of each job", unset="NAME_manifest.jsonl beside the list"
    )
    log_json: str | None = log_option()
    metrics: str | None = path_option(
        None, help="file of the batch's numbers in Prometheus' text format, for node_exporter's textfile collector"
    )
    report: str | None = path_option(
        None, help="page of the batch; its JSON is beside it", unset="NAME_report.html beside the list"
    )


def make_parser() -> ArgumentParser:
    return ArgumentParser("python -m scripts.batch", __doc__, Options)


@dataclass(frozen=True)
class _Places:
    """Files of a run: its manifest, those of parts that it puts together, its page, the JSON of that, and metrics."""

    manifest: Path
    parts: list[Path]
    page: Path
    numbers: Path
    metrics: list[Path]

    @classmethod
    def of(cls, options: Options) -> "_Places":
        jobs = Path(options.jobs)
        manifest = Path(options.manifest or jobs.with_name(f"{jobs.stem}_manifest.jsonl"))
        page = Path(options.report or jobs.with_name(f"{jobs.stem}_report.html"))
        for name, given in (("--manifest", options.manifest), ("--report", options.report)):
            if given is not None and os.path.basename(given) in ("", ".", ".."):
                raise InputError(f"{name} {shown_path(given)} is a folder; the name of a file is accepted")
        if options.shard is None:
            parts = sorted(manifest.parent.glob(f"{_escaped(manifest.stem)}_*-of-*{manifest.suffix}"))
        else:
            part, parts = options.shard.replace("/", "-of-"), []
            manifest, page = (path.with_name(f"{path.stem}_{part}{path.suffix}") for path in (manifest, page))
        metrics = [] if options.metrics is None else [Path(options.metrics)]
        return cls(manifest, parts, page, page.with_suffix(".json"), metrics)


def _escaped(name: str) -> str:
    import glob

    return glob.escape(name)


def work(options: Options) -> int:
    """Do all jobs that are not done. Returns 1 if one of them failed."""
    return run_list(options)


End = Callable[[Sequence["Entry"], Collection[str]], Any]


def run_list(
    options: Options,
    given: Mapping[str, Any] | None = None,
    more: Sequence[Path] = (),
    end: End = lambda entries, done: None,
) -> int:
    """As `work`.

    Args:
        given: options of jobs that say none.
        more: files that `end` writes.
        end: called when the run ends, however it does, with what became of the jobs, and the outputs of those that it
            has worked on.
    """
    from . import batch_jobs

    if launched() > 1:
        raise InputError("a list of jobs is for one process; its jobs one by one are accepted where several make one "
                         "result, and --workers and --shard divide a list")  # fmt: skip
    every = read_job_list(options.jobs, tuple(batch_jobs.COMMANDS), given)
    jobs = shard_of(options.shard, every)
    for job in jobs:
        batch_jobs.check_job(job)
    for job in every if len(jobs) < len(every) else ():
        batch_jobs.check_names(job)
    places = _Places.of(options)
    files = [places.manifest, places.page, places.numbers, *more, *places.metrics]
    logs = [] if options.log_json is None else [options.log_json]
    check_files_apart(every, batch_jobs.outputs_of, batch_jobs.inputs_of, [*files, *logs])
    check_outputs(files, [options.jobs, *dict.fromkeys(path for job in jobs for path in batch_jobs.inputs_of(job))])
    hold = hold_outputs([*files, *places.parts])
    with contextlib.ExitStack() as undo:
        undo.callback(hold.release)
        manifest = Manifest(places.manifest, places.parts)
        engine = _open_engine(options)
        undo.callback(engine.close)
        undo.callback(manifest.close)
        return _run(options, jobs, manifest, engine, places, end)


def _open_engine(options: Options) -> Engine:
    from ppdiffusers_ext.batch.run import gpus_of

    threads = options.threads or max(1, available_cores() // max(1, options.workers))
    if options.engine == LOCAL:
        from ppdiffusers_ext.workers.local import LocalEngine

        if options.address is not None:
            raise InputError(
                "--address is for --engine ray, which is not given; without it the jobs run on this machine"
            )
        return LocalEngine(options.workers, threads, gpus_of())
    from ppdiffusers_ext.workers.ray_engine import RayEngine

    if options.workers == 0:
        raise InputError("--workers 0 is for --engine local; 1 or more is accepted with --engine ray")
    return RayEngine(options.workers, options.address, threads, 1 if gpus_of() else 0)


def _run(options: Options, jobs: list[BatchJob], manifest: Manifest, engine: Engine, places: _Places, end: End) -> int:
    from ppdiffusers_ext.batch.observing import Observer
    from ppdiffusers_ext.batch.report import write_batch_report
    from ppdiffusers_ext.batch.run import Batch

    from . import batch_jobs

    if options.overwrite:
        manifest.entries.clear()
    manifest.begin([(job.output, job.digest) for job in jobs])
    attempts = sys.maxsize if options.retry_failed else options.attempts
    name = " ".join([Path(options.jobs).name, *([options.shard] if options.shard else [])])
    observer = Observer(name, manifest.entries.values(), options.metrics)
    batch = Batch(jobs, manifest, batch_jobs.inputs_of, attempts, options.job_timeout or float("inf"), observer)
    begun, done = time.monotonic(), set[str]()

    def tell(entry: "Entry", progress: "Progress") -> None:
        done.add(entry.output)
        _tell(entry, progress)

    entries, paths = list(manifest.entries.values()), (places.page, places.numbers)
    with contextlib.ExitStack() as ends:  # each of which is gone through, whatever becomes of the others
        ends.callback(end, entries, done)
        ends.callback(lambda: write_batch_report(paths, str(options.jobs), entries, time.monotonic() - begun))
        ends.callback(observer.write)
        batch.run(engine, batch_jobs.CommandWork(os.getcwd(), options.overwrite), tell)
    states = [entry.state for entry in entries]
    print(", ".join(f"{states.count(state):,} {state}" for state in STATES if state in states))
    print(f"report {shown_path(places.page)}")
    return 1 if FAILED in states else 0


def _tell(entry: "Entry", progress: "Progress") -> None:
    from ppdiffusers_ext.errors import one_line

    place = f"[{progress.finished:,}/{progress.total:,}]"
    if entry.state == FAILED:
        tell_error(f"{place} {entry.output}: {entry.reason}")
        return
    left = progress.seconds_left
    rest = f"; about {_spoken(left)} left" if progress.finished < progress.total else ""
    note = f": {one_line(entry.reason)}" if entry.reason else ""
    print(f"{place} {entry.state} {one_line(entry.output)} ({entry.seconds:.1f} s{rest}){note}", flush=True)


def _spoken(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
