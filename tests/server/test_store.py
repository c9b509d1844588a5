"""Jobs in SQLite: each ends exactly once, whatever happens in whatever order."""

import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.server import store as stores
from ppdiffusers_ext.server.children import child_environment
from ppdiffusers_ext.server.records import CANCELLED, DONE, ENDED, FAILED, QUEUED, RUNNING, Upload
from ppdiffusers_ext.server.refusals import NotFound, NotReady, TooMany, reason
from ppdiffusers_ext.server.store import Store


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "jobs.sqlite3")
    yield store
    store.close()


def add(store, **files):
    return store.add_job("animate_anyone", {"seed": 1}, files, 1000)


def ends_of(store, job_id):
    """How often a job was told to have ended."""
    events, has_ended = store.events(job_id, 0)
    assert has_ended
    return sum(event.kind == "state" and event.data["state"] in ENDED for event in events)


def test_jobs_run_in_the_order_in_which_they_came(store):
    ids = [add(store) for _ in range(3)]
    assert [store.job(job).position for job in ids] == [0, 1, 2]
    begun = []
    while found := store.begin_next():
        job, attempt = found
        begun.append(job.id)
        assert (job.state, job.position, attempt) == (RUNNING, None, 1)
        assert store.end(job.id, attempt, DONE, results={"result": "result.mp4"})
    assert begun == ids
    assert [job.id for job in store.jobs(2, None)] == ids[:0:-1]
    assert [job.id for job in store.jobs(2, ids[1])] == [ids[0]]
    assert store.job(ids[0]).results == ("result",) and store.job(ids[0]).progress == 1


def test_a_job_is_ended_by_nobody_but_its_running_attempt(store):
    job_id = add(store)
    assert not store.end(job_id, 1, DONE)
    _, attempt = store.begin_next()
    assert store.run_again(job_id, attempt, reason("killed")) == QUEUED
    assert not store.end(job_id, attempt, DONE)
    _, second = store.begin_next()
    assert second == 2 and not store.end(job_id, attempt, DONE)
    store.update(job_id, attempt, "progress", {"progress": 0.9, "stage": "late", "seconds_left": None})
    assert store.job(job_id).stage != "late"
    assert store.end(job_id, second, FAILED, "why") and not store.end(job_id, second, DONE)
    assert (store.job(job_id).state, store.job(job_id).error) == (FAILED, "why")
    assert ends_of(store, job_id) == 1


def test_a_job_that_was_cut_off_twice_fails_with_the_reason_and_one_that_was_stopped_does_not(store):
    job_id = add(store)
    for _ in range(5):  # a server that is stopped counts nothing
        _, attempt = store.begin_next()
        store.run_again(job_id, attempt, reason("stopped"), counts=False)
    assert attempt == 1
    store.begin_next()
    store.recover()
    assert store.job(job_id).state == QUEUED
    _, attempt = store.begin_next()
    assert store.run_again(job_id, attempt, reason("killed")) == FAILED
    assert ", for the second time" in store.job(job_id).error
    assert (store.job(job_id).code, store.job(job_id).values) == ("twice", {"why": "killed"})
    notes = [event.data for event in store.events(job_id, 0)[0] if event.kind == "note"]
    assert [(note["code"], note["values"]) for note in notes][-1] == ("again", {"why": "server"})
    assert ends_of(store, job_id) == 1


def test_cancelling_ends_what_waits_notes_what_runs_and_leaves_what_has_ended(store):
    running, waiting = add(store), add(store)
    _, attempt = store.begin_next()
    assert store.cancel(waiting).state == CANCELLED and store.cancel(waiting).state == CANCELLED
    assert store.cancel(running).state == RUNNING and store.is_cancelled(running)
    store.recover()  # as after a kill: nobody wants it any more
    assert store.job(running).state == CANCELLED
    assert [ends_of(store, job) for job in (running, waiting)] == [1, 1]
    assert store.begin_next() is None and not store.end(running, attempt, DONE)


@pytest.mark.parametrize(
    "job_id", ["", "x", "../x", "x" * 10_000, "'; DROP TABLE jobs; --", None, 7, ["x"], "\ud800", "\0"]
)
def test_unknown_jobs_and_uploads_are_not_found(store, job_id):
    for ask in (store.job, store.cancel, store.folder, store.upload, lambda name: store.events(name, 0)):
        with pytest.raises(NotFound, match="is accepted"):
            ask(job_id)


def test_the_queue_is_bounded_and_needs_its_uploads(store):
    store.add_job("animate_anyone", {}, {}, 1)
    with pytest.raises(TooMany):
        store.add_job("animate_anyone", {}, {}, 1)
    with pytest.raises(NotFound):
        store.add_job("animate_anyone", {}, {"video": "gone"}, 9)


def test_progress_replaces_progress_and_numbers_rise(store):
    job_id = add(store)
    _, attempt = store.begin_next()
    for i in range(50):
        store.update(job_id, attempt, "progress", {"progress": i / 50, "stage": "denoising", "seconds_left": 1.0})
        store.update(job_id, attempt, "preview", {"step": i, "file": "preview.png"})
        store.update(job_id, attempt, "note", {"text": str(i)}) if not i % 25 else None
    events, has_ended = store.events(job_id, 0)
    numbers = [event.number for event in events]
    assert not has_ended and numbers == sorted(set(numbers)) and numbers[0] == 1
    kinds = Counter(event.kind for event in events)
    assert kinds == {"state": 2, "note": 2, "progress": 1, "preview": 1}
    assert [event.number for event in store.events(job_id, numbers[3])[0]] == numbers[4:]
    assert (store.job(job_id).progress, store.job(job_id).results) == (0.98, ("preview",))


def test_an_upload_that_a_job_waits_for_is_not_removed(store):
    upload = Upload("u", "me.png", "image", 1, 64, 64, 1, None, None, False, time.time())
    store.add_upload(upload, "random.png")
    assert store.upload("u") == (upload, "random.png")
    job_id = add(store, reference_image="u")
    assert not store.remove_upload("u") and store.upload("u")
    store.cancel(job_id)
    assert store.remove_upload("u")
    with pytest.raises(NotFound):
        store.upload("u")


def test_what_has_not_ended_is_not_removed(store):
    job_id = add(store)
    with pytest.raises(NotReady):
        store.remove(job_id)
    store.cancel(job_id)
    store.remove(job_id)
    with pytest.raises(NotFound):
        store.job(job_id)


def test_threads_that_end_and_cancel_at_once_end_each_job_once(store):
    ids = [add(store) for _ in range(20)]

    def run():
        while found := store.begin_next():
            job, attempt = found
            store.end(job.id, attempt, random.choice((DONE, FAILED)), "why")

    def cancel():
        for job_id in random.sample(ids, len(ids)):
            store.cancel(job_id)

    threads = [threading.Thread(target=each) for each in (run, run, cancel, cancel)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [ends_of(store, job_id) for job_id in ids] == [1] * len(ids)
    assert all((store.job(job_id).state == FAILED) == (store.job(job_id).error is not None) or
               store.job(job_id).state == DONE for job_id in ids)  # fmt: skip


def test_a_database_of_something_else_or_of_another_version_is_refused(tmp_path, store, monkeypatch):
    (tmp_path / "other").write_bytes(b"no database" * 1000)
    with pytest.raises(InputError, match="cannot be used"):
        Store(tmp_path / "other")
    monkeypatch.setattr(stores, "FORMAT", 7)
    with pytest.raises(InputError, match="another version"):
        Store(tmp_path / "jobs.sqlite3")


_RUNNER = """
import sys
from pathlib import Path
from ppdiffusers_ext.server.store import Store
store = Store(Path(sys.argv[1]))
store.recover()
print("begun", flush=True)
while found := store.begin_next():
    job, attempt = found
    for i in range(20):
        store.update(job.id, attempt, "progress", {"progress": i / 20, "stage": "denoising", "seconds_left": None})
    store.end(job.id, attempt, "done", results={"result": "result.mp4"})
"""


def test_each_job_ends_once_however_often_whoever_runs_them_is_killed(store, tmp_path):
    ids = [add(store) for _ in range(50)]
    draws = random.Random(4)
    for _ in range(5):
        runner = subprocess.Popen(
            [sys.executable, "-c", _RUNNER, str(tmp_path / "jobs.sqlite3")],
            stdout=subprocess.PIPE,
            env=child_environment(),
        )
        assert runner.stdout.readline() == b"begun\n"
        time.sleep(draws.uniform(0, 0.05))
        runner.send_signal(signal.SIGKILL)
        runner.wait()
        runner.stdout.close()
    command = [sys.executable, "-c", _RUNNER, str(tmp_path / "jobs.sqlite3")]
    subprocess.run(command, check=True, env=child_environment(), capture_output=True)
    assert [ends_of(store, job_id) for job_id in ids] == [1] * 50
    states = Counter(store.job(job_id).state for job_id in ids)
    assert states[DONE] + states[FAILED] == 50 and states[FAILED] <= 2


def test_counts_and_places_in_the_queue_are_those_of_the_moment(store):
    ids, draw = [store.add_job("easy_animate", {}, {}, 100) for _ in range(6)], random.Random(0)
    while store.counts().get("queued") or store.counts().get("running"):
        waiting = [job for job in reversed(store.jobs(100, None)) if job.state == "queued"]
        assert [job.position for job in waiting] == list(range(len(waiting)))
        assert [store.job(job.id).position for job in waiting] == list(range(len(waiting)))
        assert store.counts() == dict(Counter(job.state for job in store.jobs(100, None)))
        if waiting and draw.random() < 0.4:
            store.cancel(draw.choice(waiting).id)
        elif found := store.begin_next():
            store.end(found[0].id, found[1], draw.choice(["done", "failed"]))
    assert sum(store.counts().values()) == len(ids)
    store.remove(ids[0])
    assert sum(store.counts().values()) == len(ids) - 1


def test_a_database_of_the_first_version_goes_on_with_its_jobs(tmp_path):
    earlier = Store(tmp_path / "jobs.sqlite3")
    job_id = add(earlier)
    with earlier._change() as change:
        change.execute("ALTER TABLE jobs DROP COLUMN facts")
        change.execute("PRAGMA user_version=1")
    earlier.close()
    for _ in range(2):
        later = Store(tmp_path / "jobs.sqlite3")
        assert (later.job(job_id).state, later.job(job_id).code, later.job(job_id).values) == (QUEUED, None, {})
        later.close()
