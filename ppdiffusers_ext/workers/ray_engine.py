"""Work on Ray: one machine, or the cluster that RAY_ADDRESS names. Needs the extra `[ray]`.

Rows go to the workers as they are, and files by their paths: all machines see the folders of the run under the same
names. Work that loads a network is done by actors, which load it once; the rest are tasks.

A worker that dies, or is given up for its time, costs nothing but its row; see `local`.
"""

from __future__ import annotations

import collections
import contextlib
import math
import os
import re
import secrets
import signal
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ppdiffusers_ext.errors import InputError, one_line
from ppdiffusers_ext.workers.local import environment, opened, prepare_worker, worked
from ppdiffusers_ext.workers.tasks import Job, Lost, Outcome, Task, failed, too_long

_SECONDS_TO_BEGIN = 60.0  # that a worker may take to be started, beside the time of its row
_SECONDS_TO_ANSWER = 10.0
_STORE = 80 << 20  # bytes of Ray's store of objects, which holds jobs alone
# Ray reads when it is imported whether a token is asked of whoever connects.
_TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
_CONSTANTS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # it would be sent away
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_niceness": "0",  # as the processes of --engine local
}
_is_imported_here = False


class RayEngine:
    """Tasks and actors of Ray. A Ray of its own is started for the run, unless there is one.

    Args:
        workers: rows that are worked on at a time; None for one on each processor.
        address: of a cluster; that of RAY_ADDRESS if left out, or a Ray of this run's own.
        processors, gpus: of each worker.

    Raises:
        InputError: Ray is not installed, or cannot be reached.
    """

    def __init__(
        self, workers: int | None, address: str | None = None, processors: float = 1, gpus: float = 0
    ) -> None:
        self._needs = {"num_cpus": processors, "num_gpus": gpus}
        named = ("--address ", address) if address else ("RAY_ADDRESS=", os.environ.get("RAY_ADDRESS"))
        _check_address(*named)
        self._undo = contextlib.ExitStack()
        with contextlib.ExitStack() as undo:
            if not named[1]:
                is_ours = _is_imported_here or "ray" not in sys.modules
                undo.enter_context(environment({**_CONSTANTS, **(_TOKEN if is_ours else {})}))
            self._ray = _import_ray()
            if not self._ray.is_initialized():
                undo.callback(self._ray.shutdown)
                _start(self._ray, None if workers is None else math.ceil(workers * processors), *named)
            self._undo = undo.pop_all()
        self._count = workers or max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    def run(
        self, job: Job, tasks: Iterable[Task], lost: Lost = lambda task, why: None
    ) -> Iterator[tuple[Task, dict[str, Outcome]]]:
        """See `tasks.Engine`."""
        waiting = iter(tasks)
        if (first := next(waiting, None)) is None:
            return
        workers: _Workers = (_Actors if job.is_network else _Tasks)(self._ray, job, self._needs)
        again: collections.deque[Task] = collections.deque()
        try:
            workers.begin(first)
            while True:
                while len(workers.running) < self._count and (task := next(waiting, None)) is not None:
                    workers.begin(task)
                if not workers.running:
                    break
                yield from workers.take(again, lost)
            for task in again:
                workers.begin(task)
                while workers.running:
                    yield from workers.take(None, lost)
        finally:
            workers.close()

    def close(self) -> None:
        """End Ray, if it was started here."""
        self._undo.close()


class _Workers:
    """Rows that are worked on.

    Attributes:
        running: reference of a result -> its task, and the time at which it is given up.
    """

    def __init__(self, ray: Any, job: Job, needs: Mapping[str, float]) -> None:
        self._ray, self._job, self._needs = ray, ray.put(job), needs
        self.running: dict[Any, tuple[Task, float]] = {}

    def begin(self, task: Task) -> None:
        """Have a task worked on."""
        self.running[self._submit(task)] = task, time.monotonic() + task.seconds + _SECONDS_TO_BEGIN

    def take(self, again: collections.deque[Task] | None, lost: Lost) -> Iterator[tuple[Task, dict[str, Outcome]]]:
        """Wait for the next results, or for a task to be given up. See `LocalEngine`."""
        first = min(deadline for _, deadline in self.running.values())
        done, _ = self._ray.wait(
            [*self.running], timeout=None if math.isinf(first) else max(0.0, first - time.monotonic())
        )
        now = time.monotonic()
        late = [reference for reference, (_, deadline) in self.running.items() if deadline < now]
        for reference in done:
            task, _ = self.running.pop(reference)
            try:
                kind, value = self._ray.get(reference)
            except self._ray.exceptions.RayError as error:
                self._ended(reference)
                how = type(error).__name__
                if again is not None:
                    lost(task, how)
                    again.append(task)
                else:
                    yield task, failed(task, f"its worker ended twice ({how}), the second time with nothing beside it")
                continue
            self._done(reference)
            if kind != "done":
                raise InputError(value)
            yield task, value
        for reference in late:
            if reference in self.running:
                task, _ = self.running.pop(reference)
                self._give_up(reference)
                yield task, failed(task, too_long(task))

    def close(self) -> None:
        """Give up what is running."""
        for reference in self.running:
            self._give_up(reference)
        self.running = {}

    def _submit(self, task: Task) -> Any:
        raise NotImplementedError

    def _done(self, reference: Any) -> None:
        pass

    def _ended(self, reference: Any) -> None:
        pass

    def _give_up(self, reference: Any) -> None:
        raise NotImplementedError


class _Tasks(_Workers):
    def __init__(self, ray: Any, job: Job, needs: Mapping[str, float]) -> None:
        super().__init__(ray, job, needs)
        self._name = secrets.token_hex(8)
        self._work = ray.remote(max_retries=0, max_calls=0, **needs)(_work)

    def _submit(self, task: Task) -> Any:
        return self._work.remote(self._name, self._job, task.row, task.names)

    def _give_up(self, reference: Any) -> None:
        self._ray.cancel(reference, force=True)


class _Actors(_Workers):
    def __init__(self, ray: Any, job: Job, needs: Mapping[str, float]) -> None:
        super().__init__(ray, job, needs)
        # Without restarts of Ray's own: a row that ends its actor would end each of them.
        self._class = ray.remote(max_restarts=0, max_task_retries=0, **needs)(_Opened)
        self._idle: list[Any] = []
        self._busy: dict[Any, Any] = {}

    def _submit(self, task: Task) -> Any:
        actor = self._idle.pop() if self._idle else self._class.remote(self._job)
        reference = actor.work.remote(task.row, task.names)
        self._busy[reference] = actor
        return reference

    def _done(self, reference: Any) -> None:
        self._idle.append(self._busy.pop(reference))

    def _ended(self, reference: Any) -> None:
        self._ray.kill(self._busy.pop(reference))

    def _give_up(self, reference: Any) -> None:
        self._ended(reference)

    def close(self) -> None:
        super().close()
        for actor in self._idle:
            self._ray.kill(actor)
        self._idle = []


class _Opened:
    """A job that stays open, in an actor."""

    def __init__(self, job: Job) -> None:
        prepare_worker()
        self._job, self._answer = opened(job)

    def work(self, row: Any, names: Any) -> tuple[str, Any]:
        return self._answer if self._job is None else worked(self._job, row, names)


_last: tuple[str, Any, tuple[str, Any]] | None = None  # of a worker: name of the job, the job, what opening it gave


def _work(name: str, job: Job, row: Any, names: Any) -> tuple[str, Any]:
    """A task: the job is opened when a worker gets its first row of it."""
    global _last
    if _last is None or _last[0] != name:
        prepare_worker()
        _last = name, *opened(job)
    _, ready, answer = _last
    return answer if ready is None else worked(ready, row, names)


def _import_ray() -> Any:
    global _is_imported_here
    has_token = os.environ.get("RAY_AUTH_TOKEN") == _TOKEN["RAY_AUTH_TOKEN"]
    _is_imported_here = _is_imported_here or ("ray" not in sys.modules and has_token)
    try:
        import ray
    except ImportError as error:
        raise InputError(
            "--engine ray needs Ray, which is not installed; `pip install 'ppdiffusers_ext[ray]'` installs it, and "
            "--engine local needs nothing more"
        ) from error
    return ray


def _start(ray: Any, processors: int | None, name: str, address: str | None) -> None:
    """Start a Ray that only this user reaches, on this machine, or join the one at an address."""
    own = {"num_cpus": processors, "include_dashboard": False, "object_store_memory": _STORE}
    settings: dict[str, Any] = {"address": address} if address else {**own, "_node_ip_address": "127.0.0.1"}
    paths = os.pathsep.join(path for path in sys.path if path)  # of this process, for those that Ray starts
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    earlier = os.umask(0o077)
    try:
        with environment({"PYTHONPATH": paths}, is_forced=True):
            ray.init(log_to_driver=False, logging_level="ERROR", **settings)
    except Exception as error:
        what = f"the Ray of {name}{address} cannot be reached" if address else "Ray cannot be started"
        raise InputError(f"{what} ({type(error).__name__}: {error}); --engine local needs no Ray") from error
    finally:
        os.umask(earlier)
        for number, handler in handlers.items():
            with contextlib.suppress(ValueError):  # of a thread that is not the first
                signal.signal(number, handler)


def _check_address(name: str, address: str | None) -> None:
    """Raise InputError where nothing answers at HOST:PORT, which Ray itself would try for minutes."""
    if address and not re.fullmatch(r"(ray://)?(\[[0-9a-fA-F:]+\]|[\w.-]+):[0-9]{1,5}|auto|local", address):
        raise InputError(
            f"{name}{one_line(address, 200)} is no address of a Ray; HOST:PORT is accepted, and without one a Ray is "
            "started here"
        )
    host, colon, port = (address or "").rpartition(":")
    if colon and "/" not in host:
        host = host.strip("[]")
        try:
            socket.create_connection((host, int(port)), _SECONDS_TO_ANSWER).close()
        except (OSError, OverflowError) as error:
            raise InputError(
                f"the Ray of {name}{one_line(address, 200)} does not answer ({error}); HOST:PORT of one that "
                "runs is accepted, and without an address one is started here"
            ) from error
