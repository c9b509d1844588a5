"""A batch: jobs that workers do, each alone, and a manifest that is gone on with."""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ppdiffusers_ext.batch.job_list import BatchJob
from ppdiffusers_ext.batch.manifest import BEGUN, FAILED, FINISHED, LOST, MADE, WAITING, Entry, Manifest, stamp
from ppdiffusers_ext.errors import InputError, counted, one_line
from ppdiffusers_ext.workers.tasks import Engine, Job, Task

NAME = "job"  # the one step of a job
IS_FULL = "is_full"  # of the outcome of a job that met a full disk
_INPUTS = "inputs"  # of the stamps of a job
_MOST_OF_REASON = 600


@dataclass
class Progress:
    """How far a batch is.

    Attributes:
        total: number of jobs.
        finished: how many of them need no more work, those that were there before among them.
        begun: `time.monotonic()` when the first one was begun.
        worked: how many this run has worked on.
    """

    total: int
    finished: int = 0
    worked: int = 0
    begun: float = 0.0

    @property
    def seconds_left(self) -> float:
        """Seconds that the rest takes if it goes on as it went."""
        if not self.worked:
            return float("inf")
        return (time.monotonic() - self.begun) / self.worked * (self.total - self.finished)


Tell = Callable[[Entry, Progress], Any]


@dataclass
class Batch:
    """A list of jobs, with the manifest that says what became of each.

    Attributes:
        jobs: those that are asked for.
        manifest: of them, which has begun.
        inputs: function of a job that gives the paths that it reads.
        attempts: after so many failures a job is not begun any more.
        timeout: seconds that a job may take.
        observe: called with what happens to a job, see `manifest.Entry.happened`, the job and its entry.
    """

    jobs: Sequence[BatchJob]
    manifest: Manifest
    inputs: Callable[[BatchJob], Sequence[str]]
    attempts: int
    timeout: float = float("inf")
    observe: Callable[[str, BatchJob, Entry], object] = lambda what, job, entry: None

    def is_finished(self, job: BatchJob) -> bool:
        """Whether a job was done, and its inputs and its output are as they were then."""
        entry = self.manifest.entries[job.output]
        return entry.state in FINISHED and bool(entry.stamps) and entry.stamps == self.stamps(job)

    def is_given_up(self, job: BatchJob) -> bool:
        """Whether a job failed too many times with the inputs that it has."""
        entry = self.manifest.entries[job.output]
        return entry.state == FAILED and entry.failures >= self.attempts and not self._has_others(job)

    def _has_others(self, job: BatchJob) -> bool:
        """Whether a job failed, and has other inputs now."""
        entry = self.manifest.entries[job.output]
        return entry.state == FAILED and entry.stamps.get(_INPUTS) != self.stamps(job)[_INPUTS]

    def stamps(self, job: BatchJob) -> dict[str, Any]:
        """Digest of the sizes and times of what a job reads, and size and time of what it writes."""
        read = json.dumps({path: stamp(path) for path in self.inputs(job)}, sort_keys=True)
        return {_INPUTS: hashlib.sha256(read.encode()).hexdigest()[:32], "output": stamp(job.output)}

    def run(self, engine: Engine, work: Job, tell: Tell, begin: Callable[[Progress], Any] = lambda _: None) -> None:
        """Have all jobs done that are not; `tell` is called with each that is, or failed, and `begin` before them.

        A job that failed too many times is tried again when it has other inputs. After a job that meets a full disk
        none is begun whose output would be on it; others are done. Jobs that were begun and are not done when the
        run ends wait again.

        Raises:
            InputError: what every job would meet; or at the end, that a disk was full. What is done is kept.
        """
        todo = [job for job in self.jobs if not (self.is_finished(job) or self.is_given_up(job))]
        by_output = {job.output: job for job in todo}
        progress = Progress(len(self.jobs), len(self.jobs) - len(todo))
        full: dict[int, str] = {}  # disk -> what the job said that met its end
        begin(progress)

        def tasks() -> Iterator[Task]:
            progress.begun = time.monotonic()
            for job in todo:
                if full and _disk_of(job.output) in full:
                    continue
                self._note(job, BEGUN, **({"failures": 0} if self._has_others(job) else {}))
                row = {"key": job.output, "command": job.command, "values": dict(job.values)}
                yield Task(row, (NAME,), self.timeout, {}, "--job-timeout")

        def lost(task: Task, why: str) -> None:
            self._note(by_output[task.row["key"]], LOST, reason=f"its worker ended ({why})")

        try:
            for task, outcomes in engine.run(work, tasks(), lost):
                job, outcome = by_output[task.row["key"]], outcomes[NAME]
                if outcome.get(IS_FULL):
                    full[_disk_of(job.output)] = outcome["error"]
                    continue
                self._take(job, outcome)
                progress.worked += 1
                progress.finished += 1
                tell(self.manifest.entries[job.output], progress)
        finally:
            self._give_back(todo)
        if full:
            left = counted(progress.total - progress.finished, "job")
            raise InputError(f"{'; '.join(full.values())}: the same command goes on with what is missing, {left}")

    def _give_back(self, jobs: Sequence[BatchJob]) -> None:
        with contextlib.suppress(InputError):  # of a full disk, which the run has ended for
            for job in jobs:
                if self.manifest.entries[job.output].state == BEGUN:
                    self._note(job, WAITING)

    def _take(self, job: BatchJob, outcome: Mapping[str, Any]) -> None:
        if "error" in outcome:
            reason = one_line(outcome["error"], _MOST_OF_REASON)
            self._note(job, FAILED, reason=reason, stamps=self.stamps(job))
            return
        columns = dict(outcome["columns"])
        self._note(job, columns.pop("state", MADE), stamps=self.stamps(job), **columns)

    def _note(self, job: BatchJob, what: str, **values: Any) -> None:
        self.manifest.tell(job.output, what, **values)
        self.observe(what, job, self.manifest.entries[job.output])


def _disk_of(path: str) -> int:
    """The number of the file system in which a file or folder is, or will be."""
    place = os.path.realpath(path)
    while not os.path.exists(place):
        place = os.path.dirname(place)
    return os.stat(place).st_dev


def gpus_of(environ: Mapping[str, str] = os.environ, folder: str = "/proc/driver/nvidia/gpus") -> list[str]:
    """Numbers of the GPUs that this process may use: those of CUDA_VISIBLE_DEVICES, or all of NVIDIA's driver."""
    if "CUDA_VISIBLE_DEVICES" in environ:
        return [name for name in environ["CUDA_VISIBLE_DEVICES"].split(",") if name.strip()]
    try:
        return [str(number) for number in range(len(os.listdir(folder)))]
    except OSError:
        return []
