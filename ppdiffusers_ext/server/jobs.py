"""The jobs of a server: what REST, the page and tests call. Nothing here imports Paddle; the worker does."""

import json
import secrets
import time
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import psutil

from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.options import check_number
from ppdiffusers_ext.server.adviser import Adviser
from ppdiffusers_ext.server.catalogue import Catalogue
from ppdiffusers_ext.server.dispatcher import Dispatcher, given_of
from ppdiffusers_ext.server.execution import Given, build
from ppdiffusers_ext.server.files import DATABASE, LOG, Files, Folder
from ppdiffusers_ext.server.messages import encode_files
from ppdiffusers_ext.server.modes import DRIVING, mode_of
from ppdiffusers_ext.server.records import QUEUED, RUNNING, Event, Job, Upload
from ppdiffusers_ext.server.refusals import NotFound, NotReady, Refusal, TooLarge
from ppdiffusers_ext.server.settings import ServerSettings
from ppdiffusers_ext.server.store import Store
from ppdiffusers_ext.server.words import told_of

_MOST_LISTED = 500
_MOST_OF_OPTIONS = 100_000  # characters

_Jobs: TypeAlias = list[Job]  # within the class, `list` is its method
_Events: TypeAlias = list[Event]


class Jobs:
    """Uploads, jobs and results in a data folder, and the worker that runs the jobs one by one.

    Every method may be called from any thread. None but `add_upload`, `plan`, the previews and `wait_events` waits for
    anything but the disk. What a client asks for and cannot have is an `InputError`, of the kinds in `refusals`.

    Args:
        folder: made if it is not there, and held until `stop` against a second server.
        settings: what is accepted, kept and offered.

    Raises:
        InputError: another server has the folder, or it cannot be used.
    """

    def __init__(self, folder: Path, settings: ServerSettings) -> None:
        self._settings = settings
        self._folder = Folder(folder)
        try:
            self._store = Store(self._folder.path / DATABASE)
        except BaseException:
            self._folder.release()
            raise
        self._files = Files(self._folder, self._store, settings)
        self._catalogue = Catalogue(settings)
        self._adviser = Adviser(settings, self._folder.path / LOG)
        chores = (self._files.clean, self._adviser.rest)
        self._dispatcher = Dispatcher(self._folder, self._files, self._store, settings, chores)

    def start(self) -> None:
        """Begin to run jobs: those that waited, and once more the one that ran when the last server ended."""
        self._store.recover()
        self._files.clean()
        self._dispatcher.start()

    def stop(self) -> None:
        """Stop the worker and give the data folder free. A job that runs is run again by the next server."""
        self._adviser.stop()
        self._dispatcher.stop()
        self._store.close()
        self._folder.release()

    def add_upload(self, stream: BinaryIO, name: str) -> Upload:
        """Store what a client sends: read in pieces, bounded as it comes, and looked at by a process with limits.

        Args:
            stream: has `read(bytes)`.
            name: as the client calls it, for messages alone.

        Raises:
            TooLarge, NotMedia, NoRoom: it cannot be accepted; nothing of it stays.
        """
        return self._files.receive(stream, name)

    def get_upload(self, upload_id: str) -> Upload:
        """An upload. Raises NotFound."""
        return self._store.upload(upload_id)[0]

    def upload_path(self, upload_id: str) -> Path:
        """The file of an upload, whose name is random. Raises NotFound."""
        return self._files.path_of(upload_id)

    def submit(self, system: str, options: dict[str, Any], files: dict[str, str]) -> Job:
        """Queue a job, after all checks of values and files that need no Paddle.

        Args:
            system: "animate_anyone", "stable_animator" or "easy_animate".
            options: names of the declaration -> values; see `modes`.
            files: role -> id of an upload.

        Raises:
            InputError: values or files that are not accepted.
            NotFound: an upload that is not there.
            TooMany, NoRoom: the queue or the data folder is full.
        """
        self._check(system, options, files)
        self._files.check_room()
        job_id = self._store.add_job(system, options, files, self._settings.max_queued)
        self._dispatcher.wake()
        return self._store.job(job_id)

    def get(self, job_id: str) -> Job:
        """A job. Raises NotFound."""
        return self._store.job(job_id)

    def list(self, limit: int = 50, before: str | None = None) -> _Jobs:
        """Jobs, the newest first: at most `limit`, of those created before the job with the id `before`.

        Raises NotFound for a job `before` that is not there, InputError for a limit that is not from 1 to 500.
        """
        check_number("limit", limit, 1, _MOST_LISTED, is_whole=True)
        return self._store.jobs(limit, before)

    def cancel(self, job_id: str) -> Job:
        """Have a job end: at once if it waits, within a step if it runs. One that has ended stays as it is.

        Returns the job, which may run for the rest of its step. Raises NotFound.
        """
        job = self._store.cancel(job_id)
        self._dispatcher.wake()
        return job

    def remove(self, job_id: str) -> None:
        """Forget a job that has ended, and remove its results.

        Raises NotFound; NotReady for one that has not ended.
        """
        self._files.remove_job(job_id)

    def plan(self, system: str, options: dict[str, Any], files: dict[str, str]) -> dict[str, Any]:
        """What a job would take, without running it. Waits for the worker, while a job runs for its next step.

        Returns:
            rung: of the memory ladder; peak_bytes, available_bytes; seconds (predicted of earlier runs, or None);
            frames, width, height; fits (bool); why (words where it does not fit, or None).

        Raises:
            As `submit`; Unavailable where the worker does not answer.
        """
        given = self._check(system, options, files)
        question = {"do": "plan", "system": system, "options": options, "files": encode_files(given)}
        found = self._adviser.ask({**question, "folder": str(self._folder.jobs), "others": self._dispatcher.memory})
        return {**found, "seconds": self._store.predict(found.pop("kind"), found.pop("amount"))}

    def preview_poses(self, upload_id: str, frame: int = 0, person: str = "largest") -> dict[str, Any]:
        """The people in a picture, or in a frame of a video.

        Args:
            upload_id: of a picture or a video.
            frame: number of the frame, from 0.
            person: who is chosen: "largest", "surest", "left", "right", or a number from the left.

        Returns:
            width, height; estimator; people (from left to right): a list of dicts of box ([left, top, right, bottom]
            in pixels), score, chosen (bool); picture: PNG bytes of the frame with the skeletons over it.

        Raises:
            NotFound, InputError: no such upload, frame or person; Unavailable: the worker does not answer.
        """
        path = self._files.path_of(upload_id)
        check_number("frame", frame, 0, is_whole=True)
        return self._picture({"do": "people", "path": str(path), "frame": frame, "person": str(person)})

    def preview_alignment(
        self, system: str, options: dict[str, Any], files: dict[str, str], frame: int = 0
    ) -> dict[str, Any]:
        """How the poses of a driving video will lie over the picture: what a run aligns, before it runs.

        Args:
            system, options, files: of a job with a driving video.
            frame: of the video, from 0; the nearest that is animated counts.

        Returns:
            width, height: of the run; frames: in how many people were looked for; of: how many the run has; is_exact
            (bool): whether these are all; has_person (bool): whether somebody is in this frame; missing: joints that
            the picture does not show; from_picture: joints that are taken from it; picture: PNG bytes, the picture
            with the aligned pose over it.

        Raises:
            As `plan`; Refusal for a job without a driving video.
        """
        check_number("frame", frame, 0, is_whole=True)
        given = self._check(system, options, files)
        if DRIVING not in given:
            raise Refusal("alignment", mode=mode_of(system, files).name)
        question = {"do": "align", "system": system, "options": options, "files": encode_files(given)}
        return self._picture({**question, "frame": frame, "folder": str(self._folder.jobs)})

    def _picture(self, question: dict[str, Any]) -> dict[str, Any]:
        """The answer of the adviser with the picture that it writes."""
        picture = self._folder.incoming / secrets.token_hex(16)
        try:
            found = self._adviser.ask({**question, "picture": str(picture)})
            return {**found, "picture": picture.read_bytes()}
        finally:
            picture.unlink(missing_ok=True)

    def result(self, job_id: str, name: str = "result") -> Path:
        """A file of a job: "result", "side_by_side", "sheet", "report" (JSON), "report_page" (HTML), "preview" (PNG).

        Raises NotFound; NotReady for a job that has none (yet).
        """
        results = self._store.results(job_id)
        if not isinstance(name, str) or name not in results:
            there = ", ".join(results) or "nothing yet"
            raise NotReady("result", name=shown(name), there=there)
        path = self._files.folder_of(job_id) / results[name]
        if not path.is_file():
            raise NotFound("result.gone")
        return path

    def folder_of(self, job_id: str) -> Path:
        """The folder of a job's results, which is there once the job has begun. Raises NotFound."""
        return self._files.folder_of(job_id)

    def wait_events(self, job_id: str, after: int = 0, timeout: float = 15.0) -> _Events:
        """The events of a job with numbers above `after`, in order; waits for the first of them.

        Returns at once with what there is, and with an empty list where the job has ended and has told everything, or
        after `timeout` seconds. Raises NotFound.
        """
        deadline = time.monotonic() + timeout
        while True:
            with self._store.changed:
                found, has_ended = self._store.events(job_id, after)
                left = deadline - time.monotonic()
                if found or has_ended or left <= 0:
                    return found
                self._store.changed.wait(min(left, 5.0))

    def systems(self) -> dict[str, Any]:
        """What can be asked for: name of a system -> {"installed": bool, "modes": [names], "models": [...]}.

        A model is {"name", "ready" (bool), "missing" ([names of weights]), "command" (that fetches them, or None),
        "is_demo" (bool), "defaults" (options that its file sets, by name: they count where a client gives none),
        "problem" (words where it is not ready, or None), "code", "values" (of these, see `refusals`)}. Of
        easy_animate also "loras": names. "default" is the name of the model that is taken where a job names none.
        """
        return self._catalogue.describe()

    def health(self) -> dict[str, Any]:
        """{"ok": bool, "worker": "off" | "starting" | "ready" | "busy" | "restarting", "queued": n, "running": n}.

        Waits for nothing.
        """
        counts = self._store.counts()
        state = self._dispatcher.state
        numbers = {"queued": counts.get(QUEUED, 0), "running": counts.get(RUNNING, 0)}
        return {"ok": self._dispatcher.is_alive, "worker": state, **numbers}

    def metrics(self) -> str:
        """Prometheus' text: jobs by state, seconds by stage, failures and memory."""
        memory = {"server": psutil.Process().memory_info().rss, "worker": self._dispatcher.memory}
        return self._dispatcher.tally.text(self._store.counts(), memory)

    def _check(self, system: Any, options: Any, files: Any) -> dict[str, Given]:
        """The files of a job, after all checks that need no Paddle. Raises InputError."""
        roles = mode_of(system, files)
        given = {role: given_of(self._files, self._store, upload) for role, upload in files.items()}
        roles.read(options)
        _check_length(options)
        names = {file.path: role for role, file in given.items()} | self._catalogue.names()
        try:
            build(system, options, given, self._folder.jobs, self._catalogue, self._settings)
        except InputError as error:
            told, kind = told_of(error, names), type(error) if isinstance(error, Refusal) else Refusal
            raise kind.told(told["error"], told.get("code"), told.get("values", {})) from error
        return given


def _check_length(options: Any) -> None:
    """Raises InputError for options that cannot be written as JSON, or are endless."""
    try:
        length = len(json.dumps(options, allow_nan=False))
    except (ValueError, TypeError, RecursionError):
        raise InputError(f"options are {shown(options)}; what JSON can have is accepted") from None
    if length > _MOST_OF_OPTIONS:
        raise TooLarge("options", most=_MOST_OF_OPTIONS)
