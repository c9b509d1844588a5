"""The data folder: uploads and results under random names, a quota, and what is removed of them.

server.lock, worker.lock   held by the server, and by its worker
jobs.sqlite3               see `store`
incoming/                  uploads that are not complete, emptied at the start
uploads/                   one file each
jobs/                      one folder each, with results and what a run keeps to go on
worker.log                 what the worker prints
"""

import contextlib
import fcntl
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ppdiffusers_ext.errors import InputError, printable, shown_path
from ppdiffusers_ext.server.probing import probe
from ppdiffusers_ext.server.records import Upload
from ppdiffusers_ext.server.refusals import NoRoom, NotFound, NotMedia, TooLarge
from ppdiffusers_ext.server.settings import ServerSettings
from ppdiffusers_ext.server.store import Store

SERVER_LOCK, WORKER_LOCK, DATABASE, LOG = "server.lock", "worker.lock", "jobs.sqlite3", "worker.log"
_PIECE = 1 << 20
_LOOK = 8 << 20  # bytes of an upload after which the quota is looked at
_SPARE = 64 << 20  # bytes that stay free on the disk
_MOST_OF_NAME = 100
_DAY = 86400.0
_UNUSED = 600.0  # seconds for which an upload is not removed to make room, for a job is about to be made of it


class Folder:
    """
    Args:
        path: of the data folder, which is made if it is not there, for its owner alone.

    Raises:
        InputError: another server has it, or it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.abspath(path))
        self.incoming, self.uploads, self.jobs = (self.path / name for name in ("incoming", "uploads", "jobs"))
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock: int | None = os.open(self.path / SERVER_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(self._lock)
                raise InputError(
                    f"another server uses the data folder {shown_path(path)}; another --data is accepted"
                ) from None
            for folder in (self.incoming, self.uploads, self.jobs):
                folder.mkdir(exist_ok=True, mode=0o700)
            for file in self.incoming.iterdir():
                file.unlink()
        except OSError as error:
            reason = error.strerror or error
            raise InputError(
                f"the data folder {shown_path(path)} cannot be used: {reason}; a folder that can be written is "
                "accepted"
            ) from error

    def release(self) -> None:
        """Give the folder free for another server."""
        if self._lock is not None:
            os.close(self._lock)
        self._lock = None

    def size(self) -> int:
        """Bytes of all files."""
        return _size(self.path)


class Files:
    """Uploads and results, within the bounds of the settings.

    Args:
        folder: a `Folder`.
        store: a `Store`.
        settings: a `ServerSettings`.
    """

    def __init__(self, folder: Folder, store: Store, settings: ServerSettings) -> None:
        self._folder, self._store, self._settings = folder, store, settings

    def receive(self, stream: BinaryIO, name: str) -> Upload:
        """See `Jobs.add_upload`."""
        name = shown_name(name)
        incoming = self._folder.incoming / secrets.token_hex(16)
        try:
            self.check_room()
            size = 0
            with open(incoming, "xb", opener=_private) as file:
                while piece := stream.read(_PIECE):
                    size += len(piece)
                    if size > self._settings.max_upload_bytes:
                        raise TooLarge("bytes", name=name, most=self._settings.max_upload_bytes / 1e6)
                    file.write(piece)
                    if size // _LOOK > (size - len(piece)) // _LOOK:
                        self._check_not_over()
            self._check_not_over()
            if not size:
                raise NotMedia("media.empty", name=name)
            found = probe(incoming, name, self._settings)
            file_name = secrets.token_hex(16) + found.pop("suffix")
            upload = Upload(
                id=secrets.token_urlsafe(16), name=name, bytes=size, created=time.time(),
                **{**found, "seconds": found["seconds"] and round(found["seconds"], 3)},
            )  # fmt: skip
            os.rename(incoming, self._folder.uploads / file_name)
            self._store.add_upload(upload, file_name)
            return upload
        except OSError as error:
            raise NoRoom("disk", name=name, reason=error.strerror or str(error)) from error
        finally:
            incoming.unlink(missing_ok=True)

    def check_room(self) -> None:
        """Raises NoRoom where the data folder is full."""
        if self._room() <= 0:
            raise NoRoom("room")

    def has_room(self) -> bool:
        """Whether all that is there fits, after the oldest were removed, if that is set."""
        return self._free_bytes() >= 0 or self._room() >= 0

    def _check_not_over(self) -> None:
        """Raises NoRoom where there is more than may be, what comes now included."""
        if self._free_bytes() < 0:
            raise NoRoom("room")

    def _room(self) -> int:
        """Bytes that may still be written; where there are none, after the oldest were removed, if that is set."""
        room = self._free_bytes()
        if self._settings.remove_oldest and room < self._settings.max_upload_bytes:
            for remove in self._oldest():
                remove()
                room = self._free_bytes()
                if room >= min(self._settings.max_upload_bytes, self._settings.quota // 2):
                    break
        return room

    def _free_bytes(self) -> int:
        of_disk = shutil.disk_usage(self._folder.path).free - _SPARE
        return min(self._settings.quota - self._folder.size(), of_disk)

    def _oldest(self) -> Iterator:
        """What removes results and uploads, the oldest first; uploads that may be needed soon are not among them."""
        now = time.time()
        found: list[tuple[float, Any, Any]] = [
            (ended, self.remove_results, job) for job, _, ended in self._store.ended_with_results()
        ]
        found += [
            (created, self._remove_upload, (upload, file))
            for upload, file, created in self._store.uploads()
            if created < now - _UNUSED
        ]
        for _, remove, what in sorted(found, key=lambda each: each[0]):
            yield lambda remove=remove, what=what: remove(what)

    def clean(self) -> None:
        """Remove what nothing names any more, and what is older than is set. Called at the start and now and then."""
        known = {file for _, file, _ in self._store.uploads()}
        for path in self._folder.uploads.iterdir():
            if path.name not in known and _age(path) > _UNUSED:
                path.unlink(missing_ok=True)
        folders = self._store.folders()
        for path in self._folder.jobs.iterdir():
            if path.name not in folders:
                shutil.rmtree(path, ignore_errors=True)
        if self._settings.keep_days is None:
            return
        oldest = time.time() - self._settings.keep_days * _DAY
        for job, _, ended in self._store.ended_with_results():
            if ended < oldest:
                self.remove_results(job)
        for upload, file, created in self._store.uploads():
            if created < oldest:
                self._remove_upload((upload, file))

    def remove_results(self, job_id: str) -> None:
        """Remove the results of a job that has ended; the job stays."""
        folder = self._store.folder(job_id)
        self._store.drop_results(job_id)
        shutil.rmtree(self._folder.jobs / folder, ignore_errors=True)

    def remove_job(self, job_id: str) -> None:
        """See `Jobs.remove`."""
        folder = self._store.folder(job_id)
        self._store.remove(job_id)
        shutil.rmtree(self._folder.jobs / folder, ignore_errors=True)

    def _remove_upload(self, what: tuple[str, str]) -> None:
        upload, file = what
        if self._store.remove_upload(upload):
            (self._folder.uploads / file).unlink(missing_ok=True)

    def path_of(self, upload_id: str) -> Path:
        """The file of an upload. Raises NotFound."""
        path = self._folder.uploads / self._store.upload(upload_id)[1]
        if not path.is_file():
            raise NotFound("upload.file")
        return path

    def folder_of(self, job_id: str) -> Path:
        """The folder of a job, which need not be there. Raises NotFound."""
        return self._folder.jobs / self._store.folder(job_id)


def shown_name(name: object) -> str:
    """The name of a client's file, as messages have it: its last part, printable and bounded."""
    return printable(Path(str(name)).name.replace("\n", " ") or "the upload", _MOST_OF_NAME)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0


def _size(folder: Path) -> int:
    """Bytes of the files below a folder, as many as the disk has for them; what vanishes meanwhile counts nothing."""
    total = 0
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            with contextlib.suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                is_folder = stat.S_ISDIR(status.st_mode)
                total += _size(Path(entry.path)) if is_folder else status.st_size
    return total
