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
import io
import os
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppdiffusers_ext.batch.job_list import BatchJob, check_files_apart, read_job_list, shard_of
from ppdiffusers_ext.batch.manifest import FAILED, LOST, MADE, STATES, Entry, Manifest
from ppdiffusers_ext.batch.run import Batch, Progress
from ppdiffusers_ext.data.existing import hold_outputs
from ppdiffusers_ext.data.outputs import check_outputs
from ppdiffusers_ext.distributed.ranks import launched
from ppdiffusers_ext.environment import available_cores
from ppdiffusers_ext.errors import InputError, counted, one_line, shown_path
from ppdiffusers_ext.options import option, path_option
from ppdiffusers_ext.workers.tasks import ENGINES, LOCAL, Engine

from .command import ArgumentParser, run, tell_error
from .options import CommandOptions, log_option

RUNNING = "Running"
_MOST_TOLD = 10  # jobs that are given up, by name


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


End = Callable[[Sequence[Entry], Collection[str]], Any]


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
    notes = io.StringIO()
    with contextlib.redirect_stderr(notes):  # many jobs have the same
        resolved = {job.output: batch_jobs.check_job(job) for job in jobs}
    for line in dict.fromkeys(notes.getvalue().splitlines()):
        print(line, file=sys.stderr)
    for job in every if len(jobs) < len(every) else ():
        batch_jobs.check_names(job)
    places = _Places.of(options)
    files = [places.manifest, places.page, places.numbers, *more, *places.metrics]
    logs = [] if options.log_json is None else [options.log_json]

    def inputs(job: BatchJob) -> Sequence[str]:
        return resolved[job.output] if job.output in resolved else batch_jobs.inputs_of(job)

    check_files_apart(every, batch_jobs.outputs_of, inputs, [*files, *logs])
    check_outputs(files, [options.jobs, *dict.fromkeys(path for paths in resolved.values() for path in paths)])
    hold = hold_outputs([*files, *places.parts])
    with contextlib.ExitStack() as undo:
        undo.callback(hold.release)
        manifest = Manifest(places.manifest, places.parts)
        engine = _open_engine(options)
        undo.callback(engine.close)
        undo.callback(manifest.close)
        attempts = sys.maxsize if options.retry_failed else options.attempts
        batch = Batch(jobs, manifest, inputs, attempts, options.job_timeout or float("inf"))
        return _run(options, batch, engine, places, end)


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


def _run(options: Options, batch: Batch, engine: Engine, places: _Places, end: End) -> int:
    from ppdiffusers_ext.batch.observing import Observer
    from ppdiffusers_ext.batch.report import write_batch_report

    from . import batch_jobs

    if options.overwrite:
        batch.manifest.entries.clear()
    batch.manifest.begin([(job.output, job.digest) for job in batch.jobs])
    name = " ".join([Path(options.jobs).name, *([options.shard] if options.shard else [])])
    observer = Observer(name, batch.manifest.entries.values(), options.metrics)
    begun, done = time.monotonic(), set[str]()

    def observe(what: str, job: BatchJob, entry: Entry) -> None:
        observer(what, job, entry)
        if what == LOST:
            tell_error(f"{entry.output}: {entry.reason}; it is tried once more when all others are done")

    def tell(entry: Entry, progress: Progress) -> None:
        done.add(entry.output)
        _tell(entry, progress)

    def conclude() -> None:
        states = [entry.state for entry in entries]
        print(", ".join(f"{states.count(state):,} {state}" for state in STATES if state in states))
        print(f"report {shown_path(places.page)}", flush=True)

    batch.observe = observe
    entries, paths = list(batch.manifest.entries.values()), (places.page, places.numbers)
    with contextlib.ExitStack() as ends:  # each of which is gone through, whatever becomes of the others
        ends.callback(conclude)
        ends.callback(end, entries, done)
        ends.callback(lambda: write_batch_report(paths, str(options.jobs), entries, time.monotonic() - begun))
        ends.callback(observer.write)
        batch.run(engine, batch_jobs.CommandWork(os.getcwd(), options.overwrite), tell, _tell_beginning)
        _tell_given_up([entry for entry in entries if entry.state == FAILED and entry.output not in done])
    return 1 if any(entry.state == FAILED for entry in entries) else 0


def _tell_beginning(progress: Progress) -> None:
    if progress.finished:
        print(f"{progress.finished:,} of {counted(progress.total, 'job')} need no more work", flush=True)


def _tell_given_up(entries: Sequence[Entry]) -> None:
    for entry in entries[:_MOST_TOLD]:
        tell_error(f"{entry.output}: failed {counted(entry.failures, 'time')} and is not tried again: {entry.reason}")
    if entries:
        more = f"{len(entries) - _MOST_TOLD:,} more are in the report; " if len(entries) > _MOST_TOLD else ""
        tell_error(f"{more}--retry-failed tries again what failed so often; so does any run when an input is another")


def _tell(entry: Entry, progress: Progress) -> None:
    place = f"[{progress.finished:,}/{progress.total:,}]"
    if entry.state == FAILED:
        tell_error(f"{place} {entry.output}: {entry.reason}")
        return
    left = progress.seconds_left
    facts = [f"{entry.seconds:.1f} s"] if entry.state == MADE else []
    facts += [f"about {_spoken(left)} left"] if progress.finished < progress.total else []
    said = f" ({'; '.join(facts)})" if facts else ""
    note = f": {one_line(entry.reason)}" if entry.reason else ""
    print(f"{place} {entry.state} {one_line(entry.output)}{said}{note}", flush=True)


def _spoken(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
