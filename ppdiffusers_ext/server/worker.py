"""The process that owns the models: `python -m ppdiffusers_ext.server.worker SETTINGS [LOCK]`, see `messages`.

It ends when nobody writes to it any more: when the server ends, however it ends. With LOCK it first waits until no
other worker holds this file, so that two never write into the same folders.
"""

import contextlib
import fcntl
import json
import os
import queue
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.server.catalogue import Catalogue
from ppdiffusers_ext.server.children import step_back
from ppdiffusers_ext.server.execution import Task, build
from ppdiffusers_ext.server.messages import decode_files, encode
from ppdiffusers_ext.server.settings import ServerSettings
from ppdiffusers_ext.server.words import told_of

if TYPE_CHECKING:
    from ppdiffusers_ext.server.previews import Previews
    from ppdiffusers_ext.server.progress import Progress


class Worker:
    """
    Args:
        settings: of the server.
        source, target: descriptors that commands are read from, and messages are written to.
    """

    def __init__(self, settings: ServerSettings, source: int, target: int) -> None:
        self._settings, self._catalogue = settings, Catalogue(settings)
        self._source, self._target = source, target
        self._commands: queue.Queue[dict[str, Any]] = queue.Queue()
        self._guard, self._writing = threading.Lock(), threading.Lock()
        self._progress: Progress | None = None
        self._running: str | None = None
        self._cancelled: set[str] = set()
        self._shares: dict[str, dict[str, float]] = {}
        self._previews: Previews | None = None

    def serve(self) -> None:
        """Do what is asked for, one thing after the other, until the server ends."""
        threading.Thread(target=self._listen, daemon=True).start()
        from ppdiffusers_ext.server import progress, running

        self._runner, self._made = running.Runner(), progress.Progress
        self._send({"event": "ready"})
        works = {"run": self._run, "plan": self._plan, "people": self._find_people, "align": self._align}
        while True:
            command = self._commands.get()
            works[command["do"]](command)

    def _listen(self) -> None:
        """Read commands while others are worked on. Where there are no more, the server is gone."""
        with open(self._source, "rb") as file:
            for line in file:
                command = json.loads(line)
                if command["do"] == "cancel":
                    self._cancel(command["job"])
                else:
                    self._commands.put(command)
        os._exit(0)

    def _cancel(self, job: str) -> None:
        with self._guard:
            self._cancelled.add(job)
            if self._running == job and self._progress is not None:
                self._progress.stop()

    def _send(self, message: dict[str, Any]) -> None:
        line = encode(message)
        with self._writing:
            while line:
                line = line[os.write(self._target, line) :]

    def _task(self, command: dict[str, Any], folder: Path) -> Task:
        files = decode_files(command["files"])
        return build(command["system"], command["options"], files, folder, self._catalogue, self._settings)

    def _run(self, command: dict[str, Any]) -> None:
        from ppdiffusers_ext.pipelines.watching import RunStopped
        from ppdiffusers_ext.server.running import work_of

        job, folder, begun = command["job"], Path(command["folder"]), time.monotonic()
        watch: Progress | None = None

        def stages() -> dict[str, Any]:
            return {} if watch is None else {"stages": watch.seconds}

        try:
            task = self._task(command, folder)
            kind, amount = work = work_of(task)
            watch = self._watch(job, folder, task, work)
            results = self._runner.run(task, folder, watch)
            self._shares[kind] = watch.seconds
            done = {"results": results, "kind": kind, "amount": amount, "seconds": time.monotonic() - begun}
            self._send({"event": "done", "job": job, **done, **stages()})
        except RunStopped:
            self._send({"event": "cancelled", "job": job, **stages()})
        except BaseException as error:  # whatever a run raises ends that run alone
            if not isinstance(error, InputError):
                traceback.print_exc()
            told = told_of(error, self._names(command, folder))
            self._send({"event": "failed", "job": job, **told, **stages()})
            if isinstance(error, MemoryError):
                self._runner.free()
        finally:
            with self._guard:
                self._running = self._progress = None
                self._cancelled.discard(job)

    def _watch(self, job: str, folder: Path, task: Task, work: tuple[str, float]) -> "Progress":
        """What is told of a job, and stops it if that is asked for already."""

        of_plan = {"kind": work[0], "amount": work[1], "width": task.config.width, "height": task.config.height}

        def send(message: dict[str, Any]) -> None:
            self._send({**message, **(of_plan if message["event"] == "plan" else {}), "job": job})

        has_poses, every = task.animation is not None, self._settings.preview_every
        watch = self._made(send, folder, every, has_poses, self._shares.get(work[0]))
        with self._guard:
            self._running, self._progress = job, watch
            if job in self._cancelled:
                watch.stop()
        return watch

    def _names(self, command: dict[str, Any], folder: Path) -> dict[Path, str]:
        """Paths of the server -> what a client knows them as."""
        files = {file.path: role for role, file in decode_files(command["files"]).items()}
        return {**files, folder: "the job's folder", **self._catalogue.names()}

    def _plan(self, command: dict[str, Any]) -> None:
        from ppdiffusers_ext.server.running import plan

        folder = Path(command["folder"])
        self._answer(
            command, lambda: plan(self._task(command, folder), command["others"]), self._names(command, folder)
        )

    def _find_people(self, command: dict[str, Any]) -> None:
        from ppdiffusers_ext.server.previews import find_people

        path = Path(command["path"])
        self._show(command, lambda: find_people(path, command["frame"], command["person"]), {path: "the upload"})

    def _align(self, command: dict[str, Any]) -> None:
        from ppdiffusers_ext.server.previews import Previews

        self._previews = self._previews or Previews()
        previews, folder = self._previews, Path(command["folder"])

        def align() -> tuple[dict[str, Any], bytes]:
            with tempfile.TemporaryDirectory(dir=Path(command["picture"]).parent) as scratch:
                return previews.align(self._task(command, folder), command["frame"], Path(scratch))

        self._show(command, align, self._names(command, folder))

    def _show(self, command: dict[str, Any], find: Callable[[], tuple[dict, bytes]], names: dict[Path, str]) -> None:
        """Answer with facts, after the picture that belongs to them was written."""

        def answer() -> dict[str, Any]:
            facts, content = find()
            Path(command["picture"]).write_bytes(content)
            return facts

        self._answer(command, answer, names)

    def _answer(self, command: dict[str, Any], find: Any, names: dict[Path, str]) -> None:
        answer = {"event": "answer", "request": command["request"]}
        try:
            answer["value"] = find()
        except Exception as error:
            if not isinstance(error, InputError):
                traceback.print_exc()
            answer |= told_of(error, names)
            answer["is_input"] = isinstance(error, InputError)
        self._send(answer)


def main(arguments: list[str]) -> None:
    step_back()
    settings = ServerSettings(**json.loads(arguments[0]))
    target = os.dup(1)
    os.dup2(2, 1)  # what libraries print is no message
    source = os.dup(0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if len(arguments) > 1:
        lock = os.open(arguments[1], os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
    with contextlib.suppress(BrokenPipeError):
        Worker(settings, source, target).serve()


if __name__ == "__main__":
    main(sys.argv[1:])
