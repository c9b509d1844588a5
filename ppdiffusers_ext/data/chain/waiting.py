"""Threads of the run's own process, for a step that waits for a server: it asks for several rows at a time."""

import itertools
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from ppdiffusers_ext.data.chain.tasks import Task
from ppdiffusers_ext.data.chain.work import Job, Outcome, Stop
from ppdiffusers_ext.errors import InputError


class WaitingEngine:
    """Calls a job in several threads. Rows have no time limit but that of the step's own requests.

    Args:
        threads: rows that are worked on at a time.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def run(self, job: Job, tasks: Iterable[Task]) -> Iterator[tuple[Task, dict[str, Outcome]]]:
        """See `tasks.Engine`."""
        waiting, running = iter(tasks), dict[Future, Task]()
        if (first := next(waiting, None)) is None:
            return
        job.open()
        waiting = itertools.chain([first], waiting)
        is_given_up = threading.Event()

        def work(task: Task) -> dict[str, Outcome] | None:
            return None if is_given_up.is_set() else job(task.row, task.names)

        with ThreadPoolExecutor(self._threads) as pool:
            try:
                while True:
                    while len(running) < self._threads and (task := next(waiting, None)) is not None:
                        running[pool.submit(work, task)] = task
                    if not running:
                        return
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        outcomes = future.result()
                        assert outcomes is not None
                        yield running.pop(future), outcomes
            except Stop as stop:
                # Answers that others are waiting for are paid for: they are taken before the run ends.
                is_given_up.set()
                yield from _rest(running)
                raise InputError(str(stop)) from stop
            finally:
                is_given_up.set()

    def close(self) -> None:
        """Nothing is left running."""


def _rest(running: dict[Future, Task]) -> Iterator[tuple[Task, dict[str, Outcome]]]:
    for future, task in running.items():
        if future.exception() is None and (outcomes := future.result()) is not None:
            yield task, outcomes
