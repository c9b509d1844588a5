"""The thread that hands jobs to the worker one by one, notes what becomes of them, and replaces a worker that died."""

import shutil
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.server.execution import Given
from ppdiffusers_ext.server.files import LOG, WORKER_LOCK, Files, Folder
from ppdiffusers_ext.server.messages import encode_files
from ppdiffusers_ext.server.process import Ended, WorkerProcess
from ppdiffusers_ext.server.records import CANCELLED, DONE, FAILED, Job
from ppdiffusers_ext.server.refusals import NoRoom, reason
from ppdiffusers_ext.server.settings import ServerSettings
from ppdiffusers_ext.server.store import Store
from ppdiffusers_ext.server.tally import Tally
from ppdiffusers_ext.server.words import told_of

_LOOK = 0.2  # seconds between looks at what was asked for meanwhile
_ROOM = 5.0  # seconds between looks at what the job that runs has written
_CLEANING = 60.0  # seconds between chores, such as removals of what is old
_ENDED = {"done": DONE, "failed": FAILED, "cancelled": CANCELLED}


class Dispatcher:
    """
    Args:
        folder, files, store, settings: of the server.
        chores: called now and then.

    Attributes:
        tally: of what ends.
    """

    def __init__(
        self,
        folder: Folder,
        files: Files,
        store: Store,
        settings: ServerSettings,
        chores: Sequence[Callable[[], object]] = (),
    ) -> None:
        self._chores, self._cleaned = chores, time.monotonic()
        self._folder, self._files, self._store, self._settings = folder, files, store, settings
        self._worker: WorkerProcess | None = None
        self.tally = Tally()
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._is_busy = False
        self._was_lost = False
        self._is_astray = False  # a job may be said to run that does not
        self._thread = threading.Thread(target=self._work, name="dispatcher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the worker; a job that runs goes back to the queue."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(30)
        if self._worker is not None:
            self._worker.kill()

    def wake(self) -> None:
        """There is something new: a job, or one that is to end."""
        self._wake.set()

    @property
    def memory(self) -> int:
        """Bytes that the worker has."""
        worker = self._worker
        return 0 if worker is None else worker.memory

    @property
    def is_alive(self) -> bool:
        """Whether jobs are taken."""
        return self._thread.is_alive() and not self._stopping.is_set()

    @property
    def state(self) -> str:
        """See `Jobs.health`."""
        worker = self._worker
        if worker is None or not worker.is_alive:
            return "restarting" if self._was_lost else "off"
        if not worker.is_ready:
            return "restarting" if self._was_lost else "starting"
        return "busy" if self._is_busy else "ready"

    def _work(self) -> None:
        while not self._stopping.is_set():
            found = None
            try:
                if self._is_astray:
                    self._lose()
                    self._store.recover(reason("astray"))
                    self._is_astray = False
                if self._worker is None:
                    self._start_worker()
                found = self._store.begin_next()
                if found is not None:
                    self._is_busy = True
                    self._run(*found)
                else:
                    self._do_chores()
            except Exception:  # a full disk, or a mistake: the next job may still run
                traceback.print_exc()
                self._is_astray = True
                self._stopping.wait(1)
            self._is_busy = False
            if found is None:
                self._wake.wait(1)
                self._wake.clear()
                if self._worker is not None and not self._worker.is_alive:
                    self._lose()

    def _do_chores(self) -> None:
        if time.monotonic() - self._cleaned > _CLEANING:
            self._cleaned = time.monotonic()
            for chore in self._chores:
                chore()

    def _start_worker(self) -> WorkerProcess:
        path = self._folder.path
        self._worker = WorkerProcess(self._settings, path / LOG, path / WORKER_LOCK)
        return self._worker

    def _lose(self) -> None:
        """Have another worker be started for the next job."""
        if self._worker is not None:
            self._worker.kill()
        self._worker, self._was_lost = None, True

    def _run(self, job: Job, attempt: int) -> None:
        """Have the worker run a job, and note its end."""
        try:
            self._run_in_worker(job, attempt)
        except Ended as end:
            self._lose()
            self.tally.lost()
            if self._store.run_again(job.id, attempt, end.reason) == FAILED:
                self.tally.ended(FAILED, {})
        except InputError as error:  # its files are gone, or there is no room for what it writes
            told = told_of(error)
            is_dropped = isinstance(error, NoRoom)
            if is_dropped:
                shutil.rmtree(self._files.folder_of(job.id), ignore_errors=True)
            self._store.end(job.id, attempt, FAILED, told.pop("error"), {} if is_dropped else None, told)
            self.tally.ended(FAILED, {})

    def _run_in_worker(self, job: Job, attempt: int) -> None:
        worker = self._worker or self._start_worker()
        if not self._wait_until_ready(worker, job):
            self._store.end(job.id, attempt, CANCELLED)
            return
        if self._stopping.is_set():
            self._store.run_again(job.id, attempt, reason("stopped"), counts=False)
            return
        folder = self._files.folder_of(job.id)
        worker.send(
            {
                "do": "run",
                "job": job.id,
                "attempt": attempt,
                "system": job.system,
                "options": job.options,
                "files": encode_files(self._given(job.files)),
                "folder": str(folder),
            }
        )
        cancelled: float | None = None
        looked = time.monotonic()
        while True:
            self._do_chores()
            if time.monotonic() - looked > _ROOM:
                self._check_room()
                looked = time.monotonic()
            if self._stopping.is_set():
                worker.kill()
                self._store.run_again(job.id, attempt, reason("stopped"), counts=False)
                return
            if cancelled is None and self._store.is_cancelled(job.id):
                worker.send({"do": "cancel", "job": job.id})
                cancelled = time.monotonic()
            if cancelled is not None and time.monotonic() - cancelled > self._settings.cancel_seconds:
                self._lose()
                self._store.end(job.id, attempt, CANCELLED)
                return
            message = worker.receive(_LOOK)
            if message is None or message.get("job") != job.id:
                continue
            if message["event"] == "done":
                self._check_room()
            if self._note(job, attempt, message):
                return

    def _check_room(self) -> None:
        """End the worker, and raise NoRoom, where what a job has written does not fit into the data folder."""
        if not self._files.has_room():
            self._lose()
            raise NoRoom("room.job")

    def _wait_until_ready(self, worker: WorkerProcess, job: Job) -> bool:
        """Whether a job is still wanted when the worker is ready. Raises Ended where the worker does not start."""
        deadline = time.monotonic() + self._settings.start_seconds
        while not worker.is_ready and not self._stopping.is_set():
            worker.receive(_LOOK)
            if time.monotonic() > deadline:
                raise Ended("start")
            if self._store.is_cancelled(job.id):
                return False
        return True

    def _note(self, job: Job, attempt: int, message: dict[str, Any]) -> bool:
        """Note a message about a job. Returns whether it has ended."""
        event = message["event"]
        if event not in _ENDED:
            data = {name: value for name, value in message.items() if name not in ("event", "job")}
            if event == "plan":
                data["seconds"] = self._store.predict(data.pop("kind"), data.pop("amount"))
            self._store.update(job.id, attempt, event, data)
            return False
        results = message.get("results")
        self._was_lost = False
        facts: dict[str, Any] = {name: message[name] for name in ("code", "values") if name in message}
        self._store.end(job.id, attempt, _ENDED[event], message.get("error"), results, facts)
        self.tally.ended(_ENDED[event], message.get("stages", {}))
        if event == "done":
            self._store.note_rate(message["kind"], message["seconds"] / message["amount"])
        return True

    def _given(self, files: dict[str, str]) -> dict[str, Given]:
        return {role: given_of(self._files, self._store, upload) for role, upload in files.items()}


def given_of(files: Files, store: Store, upload_id: str) -> Given:
    """What a run gets of an upload. Raises NotFound."""
    upload, path = store.upload(upload_id)[0], files.path_of(upload_id)
    return Given(Path(path), upload.kind, upload.frames, upload.fps)
