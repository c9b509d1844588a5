"""Workers on this machine: processes that each work on one row at a time.

A worker that dies, or has to be killed because its row takes too long, costs nothing but that row. A row whose worker
died is tried once more when all others are done, while no other one is worked on: it may have been killed for the
memory that others took.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import itertools
import logging
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from ppdiffusers_ext.errors import InputError, one_line
from ppdiffusers_ext.workers.tasks import Job, Lost, Outcome, Stop, Task, failed, too_long

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

# Libraries read the number of their threads from these when they are loaded.
_OF_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_END_WITH_PARENT = 1  # Linux's PR_SET_PDEATHSIG
_SECONDS_TO_END, _SECONDS_TO_CLEAN = 5.0, 2.0


class LocalEngine:
    """Processes that are started when there is work, and serve all steps of a run; ended by `close`.

    Args:
        workers: how many; with 0 the work is done in this process.
        threads: of each, which gets processors of its own; one if left out, unless the environment says how many.
        devices: numbers of GPUs, which the workers take in turn; none leaves all to each.
    """

    def __init__(self, workers: int, threads: int | None = None, devices: Sequence[str] = ()) -> None:
        self._count, self._threads, self._devices = workers, threads, devices
        self._workers: list[_Worker] = []
        self._has_begun = False  # whether a process could be started

    def run(
        self, job: Job, tasks: Iterable[Task], lost: Lost = lambda task, why: None
    ) -> Iterator[tuple[Task, dict[str, Outcome]]]:
        """Each task with what became of it, in the order in which they are done; see `tasks.Engine`.

        Raises:
            InputError: the job cannot begin, or the disk is full.
        """
        return _in_this_process(job, tasks) if self._count == 0 else self._run(job, iter(tasks), lost)

    def close(self) -> None:
        """End the processes, whatever they do."""
        _end(self._workers)
        self._workers = []

    def _run(self, job: Job, tasks: Iterator[Task], lost: Lost) -> Iterator[tuple[Task, dict[str, Outcome]]]:
        again: collections.deque[Task] = collections.deque()
        busy: list[_Worker] = []
        try:
            while True:
                while len(busy) < self._count and (task := next(tasks, None)) is not None:
                    busy.append(self._give(job, task, busy))
                if not busy:
                    break
                for worker in _ready(busy):
                    busy.remove(worker)
                    yield from self._take(worker, again, lost)
            for task in again:
                worker = self._give(job, task, [])
                while not _ready([worker]):
                    pass
                yield from self._take(worker, None, lost)
        finally:  # they are given up in the middle of their rows
            _end(busy)
            self._workers = [worker for worker in self._workers if worker not in busy]

    def _give(self, job: Job, task: Task, busy: list[_Worker]) -> _Worker:
        """Have a worker that has nothing to do begin with a task."""
        for one in [one for one in self._workers if one not in busy and not one.is_alive]:
            self._end(one)  # it was killed while it had nothing to do
        worker = next((one for one in self._workers if one not in busy), None)
        if worker is None:
            number, values = self._free_number(), self._environment()
            self._workers.append(worker := _Worker(number, values, self._threads, self._has_begun))
        worker.begin(job, task)
        return worker

    def _free_number(self) -> int:
        """The least number that no worker has: one that ended gives its own to the next."""
        return next(number for number in itertools.count() if number not in {one.number for one in self._workers})

    def _environment(self) -> dict[str, str]:
        """What a new worker finds in its environment."""
        values = {name: str(self._threads or os.environ.get(name, 1)) for name in _OF_THREADS}
        if self._devices:
            values["CUDA_VISIBLE_DEVICES"] = self._devices[self._free_number() % len(self._devices)]
        return values

    def _end(self, worker: _Worker) -> None:
        _end([worker])
        self._workers.remove(worker)

    def _take(
        self, worker: _Worker, again: collections.deque[Task] | None, lost: Lost
    ) -> Iterator[tuple[Task, dict[str, Outcome]]]:
        """What became of the task of a worker that is ready; nothing for one that is to be done once more."""
        task, self._has_begun = worker.task, True
        assert task is not None
        try:
            yield task, worker.result()
        except _Died as died:
            self._end(worker)
            if died.is_late:
                yield task, failed(task, too_long(task))
            elif again is not None:
                lost(task, str(died))
                again.append(task)
            else:
                yield task, failed(task, f"its worker ended twice ({died}), the second time with nothing beside it")


class _Died(Exception):
    """A worker is gone.

    Args:
        why: in words.
        is_late: it was ended because its row took too long.
    """

    def __init__(self, why: str, is_late: bool = False) -> None:
        super().__init__(why)
        self.is_late = is_late


class _Worker:
    """A process, and the task that it works on.

    Args:
        number: of the worker among those of its engine.
        values: of its environment.
        threads: see `LocalEngine`.
        is_replacing: whether others could be started before it.
    """

    def __init__(
        self, number: int, values: dict[str, str], threads: int | None = None, is_replacing: bool = False
    ) -> None:
        self.number, self._is_replacing = number, is_replacing
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self._process: SpawnProcess = context.Process(target=_serve, args=(other, os.getpid()), daemon=True)
        with environment(values, is_forced=True):
            self._process.start()
        self._keep_to_processors(threads)
        other.close()
        self._job: Job | None = None
        self.task: Task | None = None
        self.deadline = float("inf")
        self._is_started = self._is_open = False

    def _keep_to_processors(self, threads: int | None) -> None:
        """Give the process as many processors as it has threads: engines have a thread for each that they may use."""
        processors = sorted(os.sched_getaffinity(0))
        if threads is not None and threads < len(processors):
            first = self.number * threads
            own = {processors[place % len(processors)] for place in range(first, first + threads)}
            with contextlib.suppress(OSError):  # it is gone already
                os.sched_setaffinity(self._process.pid or 0, own)

    def begin(self, job: Job, task: Task) -> None:
        """Send a task, and before the first one of a job, the job; time counts when it is open."""
        self.task, self.deadline = task, float("inf")
        with contextlib.suppress(OSError):  # of a process that is gone, which `result` tells
            if self._job is not job:
                self._job, self._is_open = job, False
                self.pipe.send(("open", job))
            self.pipe.send(("work", task.row, task.names))
        if self._is_open:
            self.deadline = time.monotonic() + task.seconds

    def is_ready(self) -> bool:
        """Whether the result is there, or none will be. Raises InputError where the process, or the job, fails."""
        if time.monotonic() > self.deadline:
            return True
        while self.pipe.poll():
            if self._is_open:
                return True
            try:
                kind, value = self.pipe.recv()
            except (EOFError, OSError):
                if self._is_started or self._is_replacing:
                    return True  # a job, or want of memory, ended the process: `result` tells
                raise InputError(
                    f"the processes that work end as they begin ({self._ended()}); a program that starts them "
                    'does so behind `if __name__ == "__main__":`, for each process imports it'
                ) from None
            if kind == "refused":
                raise InputError(value)
            self._is_started = True
            if kind == "opened":
                assert self.task is not None
                self._is_open, self.deadline = True, time.monotonic() + self.task.seconds
        return False

    @property
    def is_alive(self) -> bool:
        """Whether the process is there."""
        return self._process.is_alive()

    def _ended(self) -> str:
        self._process.join(_SECONDS_TO_END)
        return _how(self._process.exitcode)

    def result(self) -> dict[str, Outcome]:
        """The outcomes of the task. Raises _Died, or InputError where the whole run cannot go on."""
        if not self.pipe.poll():
            raise _Died("it took too long", is_late=True)
        try:
            kind, value = self.pipe.recv()
        except (EOFError, OSError):
            raise _Died(self._ended()) from None
        if kind == "stop":
            raise InputError(value)
        self.task = None
        return value

    def ask_to_end(self) -> None:
        """Have the process remove what is half written, and end."""
        self._process.terminate()

    def kill(self, seconds: float) -> None:
        """End the process after so many seconds, if it has not ended by itself."""
        self._process.join(seconds)
        self._process.kill()
        self._process.join(_SECONDS_TO_END)
        self.pipe.close()


def _end(workers: Sequence[_Worker]) -> None:
    """End some workers, which have a moment in common to clean up."""
    for worker in workers:
        worker.ask_to_end()
    until = time.monotonic() + _SECONDS_TO_CLEAN
    for worker in workers:
        worker.kill(max(0.0, until - time.monotonic()))


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return f"by {signal.Signals(-code).name}"
    return f"with exit code {code}"


def _ready(busy: list[_Worker]) -> list[_Worker]:
    """Workers that have a result, or none to expect; waits for the first of them."""
    first = min(worker.deadline for worker in busy)
    seconds = None if first == float("inf") else max(0.0, first - time.monotonic())
    wait([worker.pipe for worker in busy], seconds)
    return [worker for worker in busy if worker.is_ready()]


@contextlib.contextmanager
def environment(values: dict[str, str], is_forced: bool = False) -> Iterator[None]:
    """Within it, the environment has these values, where it has no others or `is_forced`."""
    changed = {name: value for name, value in values.items() if is_forced or name not in os.environ}
    earlier = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in earlier.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _in_this_process(job: Job, tasks: Iterable[Task]) -> Iterator[tuple[Task, dict[str, Outcome]]]:
    is_open = False
    for task in tasks:
        if not is_open:
            job.open()
            is_open = True
        try:
            yield task, job(task.row, task.names)
        except Stop as stop:
            raise InputError(str(stop)) from stop


def _serve(pipe: Connection, parent: int) -> None:
    """The life of a worker: open jobs, work on rows, tell what became of them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run, which ends its workers
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))
    ctypes.CDLL(None).prctl(_END_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:
        return
    prepare_worker()
    job: Any = None
    with contextlib.suppress(EOFError, OSError):
        pipe.send(("started", None))
        while True:
            kind, *values = pipe.recv()
            if kind == "open":
                job, answer = opened(values[0])
            else:
                answer = worked(job, *values)
            pipe.send(answer)


def prepare_worker() -> None:
    """Have OpenCV use one thread in this process, and no notes about single files be told."""
    import cv2

    cv2.setNumThreads(1)
    logging.getLogger("ppdiffusers_ext").addHandler(logging.NullHandler())
    logging.getLogger("ppdiffusers_ext").propagate = False


def opened(job: Job) -> tuple[Any, tuple[str, Any]]:
    """Open a job; (the job, what is answered)."""
    try:
        job.open()
    except Exception as error:
        words = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        return None, ("refused", f"step {', '.join(job.names)} cannot begin: {one_line(words)}")
    return job, ("opened", None)


def worked(job: Job | None, row: Any, names: Any) -> tuple[str, Any]:
    """Work on a row; what is answered."""
    if job is None:  # it could not be opened, and the run ends for that
        return "stop", "the step is not open"
    try:
        return "done", job(row, names)
    except Stop as stop:
        return "stop", str(stop)
