"""What becomes of a job: changes that are part of a transaction of `store`."""

import json
import sqlite3
import time
from collections.abc import Mapping
from typing import Any

from ppdiffusers_ext.server.records import CANCELLED, FAILED, QUEUED, RUNNING
from ppdiffusers_ext.server.refusals import Refusal, facts_of

ATTEMPTS = 2  # a job that ran when its server or worker ended is run once more
_REPLACED = ("progress", "preview")  # kinds of events of which only the last one counts


def running(change: sqlite3.Connection, job_id: str, attempt: int) -> sqlite3.Row | None:
    """The row of a job if this attempt of it runs."""
    query = "SELECT * FROM jobs WHERE id = ? AND state = ? AND attempts = ?"
    return change.execute(query, (job_id, RUNNING, attempt)).fetchone()


def end_job(
    change: sqlite3.Connection,
    row: sqlite3.Row,
    state: str,
    error: str | None = None,
    results: dict[str, str] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """End a job: its state and results, and an event that tells it. Without any result, {}, it loses earlier ones."""
    progress = 1.0 if state == "done" else row["progress"]
    found = {} if results == {} else json.loads(row["results"]) | (results or {})
    change.execute(
        "UPDATE jobs SET state = ?, error = ?, ended = ?, progress = ?, stage = 'ended', seconds_left = NULL, "
        "results = ?, facts = ? WHERE number = ?",
        (state, error, time.time(), progress, json.dumps(found), json.dumps(facts or {}), row["number"]),
    )
    tell(change, row["number"], "state", {"state": state, "error": error, "position": None})


def cut_off(change: sqlite3.Connection, row: sqlite3.Row, why: Mapping[str, str], counts: bool) -> None:
    """Queue a job once more whose attempt was cut off, or end it; see `Store.run_again`."""
    if row["is_cancelled"]:
        end_job(change, row, CANCELLED)
    elif counts and row["attempts"] >= ATTEMPTS:
        twice = Refusal("twice", **why)
        end_job(change, row, FAILED, str(twice), facts=facts_of(twice))
    else:
        change.execute(
            "UPDATE jobs SET state = ?, attempts = ?, stage = 'waiting', seconds_left = NULL WHERE number = ?",
            (QUEUED, row["attempts"] - (0 if counts else 1), row["number"]),
        )
        again = Refusal("again", **why)
        tell(change, row["number"], "note", {"text": str(again), **facts_of(again)})
        tell(change, row["number"], "state", {"state": QUEUED, "error": None, "position": 0})


def tell(change: sqlite3.Connection, job: int | None, kind: str, data: dict[str, Any]) -> None:
    """Add an event to those of a job, in place of the one of its kind if only the last of these counts."""
    if kind in _REPLACED:
        change.execute("DELETE FROM events WHERE job = ? AND kind = ?", (job, kind))
    change.execute("UPDATE jobs SET events = events + 1 WHERE number = ?", (job,))
    change.execute(
        "INSERT INTO events SELECT number, events, ?, ? FROM jobs WHERE number = ?", (kind, json.dumps(data), job)
    )
