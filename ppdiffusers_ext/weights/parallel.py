"""Work in several threads that ends at once when it is to."""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

_PATIENCE = 1.0  # seconds for what is under way


def in_parallel(
    work: Callable[[Any], Any], tasks: Iterable[Any], jobs: int, stop: threading.Event | None = None
) -> Iterator[Any]:
    """Call `work(task)` for all tasks in at most `jobs` threads; yields the results in the order they are ready.

    What a call raises is raised here. Then, or when the caller stops (Ctrl-C), `stop`, a `threading.Event`, is set, no
    further task is begun, and those under way are left to themselves after a moment: a thread that waits for a stalled
    server cannot be woken, and must not hold up the end of the program, as those of concurrent.futures do.
    """
    tasks, stop = list(tasks), stop or threading.Event()
    waiting: queue.SimpleQueue = queue.SimpleQueue()
    ready: queue.SimpleQueue = queue.SimpleQueue()
    for task in tasks:
        waiting.put(task)

    def serve() -> None:
        while not stop.is_set():
            try:
                task = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                ready.put((work(task), None))
            except BaseException as error:
                ready.put((None, error))

    threads = [threading.Thread(target=serve, daemon=True) for _ in range(min(jobs, len(tasks)))]
    try:
        for thread in threads:
            thread.start()
        for _ in tasks:
            result, error = ready.get()
            if error is not None:
                raise error
            yield result
    finally:
        stop.set()
        end = time.monotonic() + _PATIENCE
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
