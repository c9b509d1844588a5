"""Threads of the run's own process, for a step that waits for a server: it asks for several rows at a time."""

import queue
import threading
from collections.abc import Iterable, Iterator

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.workers.tasks import Job, Outcome, Stop, Task


class WaitingEngine:
    """Calls a job in several threads. Rows have no time limit but that of the step's own requests.

    A run that is stopped does not wait for them: they end with the process.

    Args:
        threads: rows that are worked on at a time.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def run(self, job: Job, tasks: Iterable[Task]) -> Iterator[tuple[Task, dict[str, Outcome]]]:
        """See `tasks.Engine`."""
        waiting, running, is_open = iter(tasks), 0, False
        todo: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        done: queue.SimpleQueue[tuple[Task, dict[str, Outcome] | None, Exception | None]] = queue.SimpleQueue()
        stopped: Exception | None = None
        try:
            while True:
                while stopped is None and running < self._threads and (task := next(waiting, None)) is not None:
                    if not is_open:
                        job.open()
                        is_open = True
                        self._start(job, todo, done)
                    todo.put(task)
                    running += 1
                if not running:
                    break
                task, outcomes, error = done.get()
                running -= 1
                if outcomes is not None:  # also when the run ends: answers that others wait for are paid for
                    yield task, outcomes
                stopped = stopped or error
        finally:
            for _ in range(self._threads):
                todo.put(None)
        if isinstance(stopped, Stop):
            raise InputError(str(stopped)) from stopped
        if stopped is not None:
            raise stopped

    def _start(self, job: Job, todo: queue.SimpleQueue, done: queue.SimpleQueue) -> None:
        def work() -> None:
            while (task := todo.get()) is not None:
                try:
                    done.put((task, job(task.row, task.names), None))
                except Exception as error:
                    done.put((task, None, error))

        for _ in range(self._threads):
            threading.Thread(target=work, daemon=True).start()

    def close(self) -> None:
        """Nothing has to be ended."""
