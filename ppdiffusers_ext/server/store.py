"""Jobs, events and uploads in SQLite. Each change is one short transaction: a kill leaves all or nothing of it.

A job ends exactly once: whoever ends it names the attempt that he ends, and only the one that runs can be ended.
Readers wait for nobody (write-ahead log).
"""

import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.server.job_changes import cut_off, end_job, running, tell
from ppdiffusers_ext.server.records import CANCELLED, ENDED, QUEUED, RUNNING, Event, Job, Upload
from ppdiffusers_ext.server.refusals import NotFound, NotReady, TooMany, reason

FORMAT = 2
_BUSY = 30.0  # seconds that a writer waits for another one

_SCHEMA = """
CREATE TABLE IF NOT EXISTS uploads (
    id TEXT PRIMARY KEY, file TEXT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, bytes INTEGER NOT NULL,
    width INTEGER NOT NULL, height INTEGER NOT NULL, frames INTEGER NOT NULL, seconds REAL, fps REAL,
    has_audio INTEGER NOT NULL, created REAL NOT NULL);
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, folder TEXT NOT NULL,
    system TEXT NOT NULL, options TEXT NOT NULL, files TEXT NOT NULL, state TEXT NOT NULL,
    progress REAL NOT NULL DEFAULT 0, stage TEXT NOT NULL DEFAULT 'waiting', seconds_left REAL, error TEXT,
    created REAL NOT NULL, started REAL, ended REAL, plan TEXT, results TEXT NOT NULL DEFAULT '{}',
    attempts INTEGER NOT NULL DEFAULT 0, is_cancelled INTEGER NOT NULL DEFAULT 0, events INTEGER NOT NULL DEFAULT 0,
    facts TEXT NOT NULL DEFAULT '{}');
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, number);
CREATE TABLE IF NOT EXISTS events (
    job INTEGER NOT NULL, number INTEGER NOT NULL, kind TEXT NOT NULL, data TEXT NOT NULL, PRIMARY KEY (job, number));
CREATE TABLE IF NOT EXISTS rates (kind TEXT PRIMARY KEY, seconds REAL NOT NULL);
"""
# Each job with its place in the queue, if it waits: as one query, since a list has many of them.
_JOBS = f"""
SELECT *, CASE state WHEN '{QUEUED}' THEN (
    SELECT COUNT(*) FROM jobs AS other WHERE other.state = '{QUEUED}' AND other.number < jobs.number
) END AS position FROM jobs"""
_NAMES = (
    *("id", "system", "state", "progress", "stage", "seconds_left", "error", "position"),
    *("created", "started", "ended"),
)


class Store:
    """
    Args:
        path: of the database, which is made if it is not there.

    Raises:
        InputError: it is no database of this version.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._own = path, threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._guard = threading.Lock()
        self.changed = threading.Condition()
        self._changes = 0
        self._counted: tuple[int, dict[str, int]] = (-1, {})  # after which change jobs were counted, and how many
        try:
            connection = self._connection()
            connection.execute("PRAGMA journal_mode=WAL")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, 1, FORMAT):
                raise InputError(f"the data folder is of another version ({version}); another one is accepted")
            with self._change() as change:
                for statement in _SCHEMA.split(";"):
                    change.execute(statement)
                if version == 1:
                    change.execute("ALTER TABLE jobs ADD COLUMN facts TEXT NOT NULL DEFAULT '{}'")
                change.execute(f"PRAGMA user_version={FORMAT}")
        except sqlite3.DatabaseError as error:
            raise InputError(f"{path.name} in the data folder cannot be used: {error}; one of this program, or none, "
                             "is accepted") from error  # fmt: skip

    def close(self) -> None:
        """Close the connections of all threads, which must not use the store any more."""
        with self._guard:
            for connection in self._connections:
                connection.close()
            self._connections.clear()

    def _connection(self) -> sqlite3.Connection:
        connection = getattr(self._own, "connection", None)
        if connection is None:
            connection = sqlite3.connect(self._path, _BUSY, isolation_level=None, check_same_thread=False)
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA synchronous=NORMAL")
            self._own.connection = connection
            with self._guard:
                self._connections.append(connection)
        return connection

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """A transaction, after which whoever waits for events is woken."""
        connection = self._connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
        with self.changed:
            self._changes += 1
            self.changed.notify_all()

    def _rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        return self._connection().execute(query, values).fetchall()

    # Uploads

    def add_upload(self, upload: Upload, file: str) -> None:
        values = [*vars(upload).items(), ("file", file)]
        names, marks = ", ".join(name for name, _ in values), ", ".join("?" * len(values))
        with self._change() as change:
            change.execute(f"INSERT INTO uploads ({names}) VALUES ({marks})", [value for _, value in values])

    def upload(self, upload_id: str) -> tuple[Upload, str]:
        """An upload, and the name of its file. Raises NotFound."""
        rows = self._rows("SELECT * FROM uploads WHERE id = ?", _text(upload_id)) if _is_id(upload_id) else []
        if not rows:
            raise NotFound("upload", id=shown(upload_id))
        values = dict(rows[0])
        file = values.pop("file")
        return Upload(**{**values, "has_audio": bool(values["has_audio"])}), file

    def uploads(self) -> list[tuple[str, str, float]]:
        """(id, file, created) of all uploads, the oldest first."""
        return [tuple(row) for row in self._rows("SELECT id, file, created FROM uploads ORDER BY created")]

    def remove_upload(self, upload_id: str) -> bool:
        """Forget an upload, unless a job that has not ended needs it. Returns whether it was forgotten."""
        with self._change() as change:
            needed = change.execute(
                "SELECT 1 FROM jobs, json_each(jobs.files) WHERE state IN (?, ?) AND json_each.value = ?",
                (QUEUED, RUNNING, upload_id),
            ).fetchone()
            if needed is None:
                change.execute("DELETE FROM uploads WHERE id = ?", (upload_id,))
        return needed is None

    # Jobs

    def add_job(self, system: str, options: dict[str, Any], files: dict[str, str], most: int) -> str:
        """Queue a job: its id. Raises TooMany where `most` jobs wait, NotFound for an upload that is gone."""
        job_id, folder = secrets.token_urlsafe(16), secrets.token_hex(16)
        with self._change() as change:
            waiting = change.execute("SELECT COUNT(*) FROM jobs WHERE state = ?", (QUEUED,)).fetchone()[0]
            if waiting >= most:
                raise TooMany("queue", count=waiting)
            for upload in files.values():
                if change.execute("SELECT 1 FROM uploads WHERE id = ?", (upload,)).fetchone() is None:
                    raise NotFound("upload.gone", id=shown(upload))
            number = change.execute(
                "INSERT INTO jobs (id, folder, system, options, files, state, created) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (job_id, folder, system, json.dumps(options), json.dumps(files), QUEUED, time.time()),
            ).lastrowid
            tell(change, number, "state", {"state": QUEUED, "error": None, "position": waiting})
        return job_id

    def job(self, job_id: str) -> Job:
        """A job. Raises NotFound."""
        return _as_job(self._row(job_id))

    def folder(self, job_id: str) -> str:
        """The name of a job's folder. Raises NotFound."""
        return self._row(job_id)["folder"]

    def results(self, job_id: str) -> dict[str, str]:
        """Name of a result -> of its file in the job's folder. Raises NotFound."""
        return json.loads(self._row(job_id)["results"])

    def is_cancelled(self, job_id: str) -> bool:
        """Whether somebody has asked for the end of a job. Raises NotFound."""
        return bool(self._row(job_id)["is_cancelled"])

    def jobs(self, limit: int, before: str | None) -> list[Job]:
        """At most `limit` jobs, the newest first, of those before another. Raises NotFound."""
        number = 1 << 62 if before is None else self._row(before)["number"]
        rows = self._rows(f"{_JOBS} WHERE number < ? ORDER BY number DESC LIMIT ?", number, limit)
        return [_as_job(row) for row in rows]

    def counts(self) -> dict[str, int]:
        """State -> number of jobs. Counted once after each change: the event loop asks, which must not wait."""
        changes, counts = self._changes, self._counted
        if counts[0] != changes:
            rows = self._rows("SELECT state, COUNT(*) FROM jobs GROUP BY state")
            counts = self._counted = changes, dict(map(tuple, rows))
        return counts[1]

    def _row(self, job_id: str) -> sqlite3.Row:
        rows = self._rows(f"{_JOBS} WHERE id = ?", _text(job_id)) if _is_id(job_id) else []
        if not rows:
            raise NotFound("job", id=shown(job_id))
        return rows[0]

    def begin_next(self) -> tuple[Job, int] | None:
        """Have the job run that waits longest: it, and the number of the attempt; None where none waits."""
        if not self._rows("SELECT 1 FROM jobs WHERE state = ? LIMIT 1", QUEUED):
            return None
        with self._change() as change:
            row = change.execute("SELECT * FROM jobs WHERE state = ? ORDER BY number LIMIT 1", (QUEUED,)).fetchone()
            if row is None:
                return None
            change.execute(
                "UPDATE jobs SET state = ?, attempts = attempts + 1, started = COALESCE(started, ?), "
                "progress = 0, stage = 'starting', seconds_left = NULL WHERE number = ?",
                (RUNNING, time.time(), row["number"]),
            )
            tell(change, row["number"], "state", {"state": RUNNING, "error": None, "position": None})
        return self.job(row["id"]), row["attempts"] + 1

    def update(self, job_id: str, attempt: int, kind: str, data: dict[str, Any]) -> None:
        """Note what became of the attempt that runs: an event of `kind`. Nothing where it runs no more."""
        with self._change() as change:
            row = running(change, job_id, attempt)
            if row is None:
                return
            if kind == "progress":
                change.execute(
                    "UPDATE jobs SET progress = ?, stage = ?, seconds_left = ? WHERE number = ?",
                    (data["progress"], data["stage"], data["seconds_left"], row["number"]),
                )
            elif kind == "plan":
                change.execute("UPDATE jobs SET plan = ? WHERE number = ?", (json.dumps(data), row["number"]))
            elif kind == "preview":
                results = {**json.loads(row["results"]), "preview": data["file"]}
                data = {"step": data["step"]}
                change.execute("UPDATE jobs SET results = ? WHERE number = ?", (json.dumps(results), row["number"]))
            tell(change, row["number"], kind, data)

    def end(
        self,
        job_id: str,
        attempt: int,
        state: str,
        error: str | None = None,
        results: dict[str, str] | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> bool:
        """End a job whose attempt runs. Returns False, and changes nothing, where it runs no more.

        Args:
            results: name -> file, beside those that it has; {}: it has none any more.
            error: why it failed, in words; facts: its code and values, where it has these.
        """
        with self._change() as change:
            row = running(change, job_id, attempt)
            if row is not None:
                end_job(change, row, state, error, results, facts)
        return row is not None

    def run_again(self, job_id: str, attempt: int, why: Mapping[str, str], counts: bool = True) -> str:
        """Queue a job once more whose attempt was cut off, or fail it if that was the last one: the state.

        Args:
            why: of `refusals.reason`.
            counts: False where the attempt was cut off on purpose, and is not counted.
        """
        with self._change() as change:
            row = running(change, job_id, attempt)
            if row is not None:
                cut_off(change, row, why, counts)
        return self.job(job_id).state

    def recover(self, why: Mapping[str, str] | None = None) -> None:
        """Of jobs that ran when an earlier server ended, or whatever `why` says: queue them once more, or end them."""
        with self._change() as change:
            for row in change.execute("SELECT * FROM jobs WHERE state = ?", (RUNNING,)).fetchall():
                cut_off(change, row, why or reason("server"), True)

    def cancel(self, job_id: str) -> Job:
        """End a job that waits; note it of one that runs. Raises NotFound."""
        self._row(job_id)
        with self._change() as change:
            row = change.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
            if row is not None and row["state"] == QUEUED:
                end_job(change, row, CANCELLED)
            elif row is not None and row["state"] == RUNNING:
                change.execute("UPDATE jobs SET is_cancelled = 1 WHERE number = ?", (row["number"],))
        return self.job(job_id)

    def remove(self, job_id: str) -> None:
        """Forget a job that has ended. Raises NotFound, NotReady."""
        with self._change() as change:
            row = change.execute("SELECT * FROM jobs WHERE id = ?", (_text(job_id),)).fetchone()
            if row is None:
                raise NotFound("job", id=shown(job_id))
            if row["state"] not in ENDED:
                raise NotReady("job.ended", state=row["state"])
            change.execute("DELETE FROM events WHERE job = ?", (row["number"],))
            change.execute("DELETE FROM jobs WHERE number = ?", (row["number"],))

    def drop_results(self, job_id: str) -> None:
        """Forget the results of a job that has ended, but not the job."""
        with self._change() as change:
            marks = ", ".join("?" * len(ENDED))
            change.execute(f"UPDATE jobs SET results = '{{}}' WHERE id = ? AND state IN ({marks})", (job_id, *ENDED))

    def ended_with_results(self) -> list[tuple[str, str, float]]:
        """(id, folder, time of the end) of jobs that have ended and have results, the oldest first."""
        marks = ", ".join("?" * len(ENDED))
        query = f"SELECT id, folder, ended FROM jobs WHERE state IN ({marks}) AND results != '{{}}' ORDER BY ended"
        return [tuple(row) for row in self._rows(query, *ENDED)]

    def folders(self) -> set[str]:
        """Names of the folders of all jobs."""
        return {row[0] for row in self._rows("SELECT folder FROM jobs")}

    def events(self, job_id: str, after: int) -> tuple[list[Event], bool]:
        """The events of a job above a number, and whether the job has ended. Raises NotFound."""
        row = self._row(job_id)
        query = "SELECT * FROM events WHERE job = ? AND number > ? ORDER BY number"
        found = self._rows(query, row["number"], after)
        events = [Event(each["number"], each["kind"], json.loads(each["data"])) for each in found]
        return events, row["state"] in ENDED

    # How long work takes here, for predictions

    def predict(self, kind: str, amount: float) -> float | None:
        """Seconds that so much of some kind of work will take, by the last runs; None before the first."""
        rows = self._rows("SELECT seconds FROM rates WHERE kind = ?", kind)
        return round(rows[0][0] * amount, 1) if rows else None

    def note_rate(self, kind: str, seconds: float) -> None:
        """Remember how long a unit took, smoothed."""
        with self._change() as change:
            change.execute(
                "INSERT INTO rates VALUES (?, ?) ON CONFLICT (kind) DO UPDATE SET seconds = (seconds + ?) / 2",
                (kind, seconds, seconds),
            )


def _as_job(row: sqlite3.Row) -> Job:
    """A job of a row of `_JOBS`."""
    plan = None if row["plan"] is None else json.loads(row["plan"])
    read = {name: json.loads(row[name]) for name in ("options", "files")}
    results, facts = tuple(json.loads(row["results"])), json.loads(row["facts"])
    return Job(**{name: row[name] for name in _NAMES}, **read, plan=plan, results=results, code=facts.get("code"),
               values=facts.get("values", {}))  # fmt: skip


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 100


def _text(value: Any) -> str:
    """A text that SQLite takes: without halves of characters."""
    return str(value).encode(errors="replace").decode()
