"""A server's jobs, with its worker process: real jobs of the small model, stopped, cut off, gone on with."""

import io
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from ppdiffusers_ext.data.frames import open_frames
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.server.children import child_environment
from ppdiffusers_ext.server.files import DATABASE, WORKER_LOCK
from ppdiffusers_ext.server.jobs import Jobs
from ppdiffusers_ext.server.records import CANCELLED, DONE, ENDED, FAILED, QUEUED, RUNNING
from ppdiffusers_ext.server.refusals import NotFound, NotReady
from ppdiffusers_ext.server.settings import ServerSettings
from ppdiffusers_ext.server.store import Store
from tests.support.prometheus import parsed

SMALL = {"width": 64, "height": 96, "num_frames": 2, "steps": 2}
LONG = {**SMALL, "steps": 900, "preset": "exact"}
PATIENCE = 300  # seconds, of a machine that is busy


def send(jobs):
    """The files of a job, as uploads."""
    files = {"reference_image": "assets/reference.png", "pose_video": "assets/pose.mp4"}
    return {role: jobs.add_upload(io.BytesIO(Path(path).read_bytes()), path).id for role, path in files.items()}


def follow(jobs, job_id, until=lambda event: False):
    """The events of a job up to its end, or to one that `until` says."""
    events, deadline = [], time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for event in jobs.wait_events(job_id, events[-1].number if events else 0, 5):
            events.append(event)
            if until(event):
                return events
        if jobs.get(job_id).state in ENDED and not jobs.wait_events(job_id, events[-1].number, 0):
            return events
    raise AssertionError(f"the job is {jobs.get(job_id)}")


def deep():
    """A list in a list in a list, and so on."""
    value = []
    for _ in range(100_000):
        value = [value]
    return value


def is_denoising(event):
    return event.kind == "progress" and event.data["stage"] == "denoising"


def ends(events):
    return [event.data["state"] for event in events if event.kind == "state" and event.data["state"] in ENDED]


def workers(folder):
    """The worker of a data folder, which holds a file there: a list. Other servers here have theirs."""
    return [each for each in psutil.Process().children() if str(folder / WORKER_LOCK) in each.cmdline()]


def kill_worker(folder):
    (worker,) = workers(folder)
    worker.kill()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("server") / "data"


@pytest.fixture(scope="module")
def jobs(folder):
    """A server that runs, of which a test may kill the worker."""
    jobs = Jobs(folder, ServerSettings(device="cpu", preview_every=1))
    jobs.start()
    yield jobs
    jobs.stop()


@pytest.fixture(scope="module")
def files(jobs):
    return send(jobs)


def test_folder_of_a_server_is_refused_to_another(jobs, folder):
    with pytest.raises(InputError, match="another server"):
        Jobs(folder, ServerSettings())


@pytest.mark.parametrize(
    "options",
    [{"loras": deep()}, {"guidance_interval": deep()}, {"preset": "x" * 10**6}, {"frames": "1" * 200_000}],
    ids=lambda options: next(iter(options)),
)
def test_values_of_any_size_and_depth_are_refused(jobs, files, options):
    with pytest.raises(InputError):
        jobs.submit("animate_anyone", options, files)


def sample(jobs, name, **labels):
    """A number of `Jobs.metrics`."""
    return parsed(jobs.metrics())[f"ppdiffusers_ext_{name}"][1][tuple(sorted(labels.items()))]


def test_job_is_done_once_and_gives_its_results_alone(jobs, files):
    job_id = jobs.submit("animate_anyone", SMALL, files).id
    assert ends(follow(jobs, job_id)) == [DONE]
    job = jobs.get(job_id)
    assert (job.state, job.progress, job.error, job.plan["rung"]) == (DONE, 1.0, None, "high")
    assert set(job.results) == {"result", "side_by_side", "sheet", "preview"}
    assert len(list(open_frames(jobs.result(job_id)))) == 2
    assert sample(jobs, "jobs", state="done") == sample(jobs, "jobs_ended_total", state="done") >= 1
    assert sample(jobs, "stage_seconds_total", stage="denoising") > 0
    assert sample(jobs, "resident_memory_bytes", process="worker") > 10**8
    assert jobs.result(job_id, "preview").read_bytes().startswith(b"\x89PNG")
    for name in ("report", "../../jobs.sqlite3", "", None, "/etc/passwd"):
        with pytest.raises(NotReady):
            jobs.result(job_id, name)


def test_job_that_fails_once_says_why_and_what_is_accepted(jobs, files, folder):
    job_id = jobs.submit("animate_anyone", {**SMALL, "context_frames": 500, "num_frames": 48}, files).id
    assert ends(follow(jobs, job_id)) == [FAILED]
    error = jobs.get(job_id).error
    assert "context_frames" in error and "accepted" in error and str(folder.parent) not in error


def test_job_whose_results_do_not_fit_fails_and_leaves_nothing(tmp_path):
    quota = 1 << 20
    jobs = Jobs(tmp_path / "data", ServerSettings(device="cpu", quota=quota, preview_every=1))
    jobs.start()
    try:
        files = send(jobs)
        used = sum(path.stat().st_size for path in (tmp_path / "data").rglob("*") if path.is_file())
        (tmp_path / "data" / "filler").write_bytes(bytes(quota - used - 10_000))
        job_id = jobs.submit("animate_anyone", {**SMALL, "num_frames": 24}, files).id
        assert ends(follow(jobs, job_id)) == [FAILED]
        job = jobs.get(job_id)
        assert (job.code, job.results) == ("room.job", ()) and "fewer frames" in job.error
        assert not jobs.folder_of(job_id).exists()
        (tmp_path / "data" / "filler").unlink()
        assert ends(follow(jobs, jobs.submit("animate_anyone", SMALL, files).id)) == [DONE]
    finally:
        jobs.stop()


def test_jobs_that_run_or_wait_are_cancelled_and_leave_no_video(jobs, files):
    running, waiting, last = (jobs.submit("animate_anyone", {**LONG, "seed": seed}, files) for seed in (1, 2, 3))
    follow(jobs, running.id, is_denoising)
    assert jobs.health() == {"ok": True, "worker": "busy", "queued": 2, "running": 1}
    assert [jobs.get(job.id).position for job in (waiting, last)] == [0, 1]
    assert [jobs.cancel(job.id).state for job in (waiting, running, last)] == [CANCELLED, RUNNING, CANCELLED]
    for job in (running, waiting, last):
        assert ends(follow(jobs, job.id)) == [CANCELLED]
    assert [path.name for path in jobs.folder_of(running.id).iterdir() if path.suffix == ".mp4"] == []


def test_job_whose_worker_is_killed_is_run_again_but_once(jobs, files, folder):
    before = sample(jobs, "failures_total", kind="worker")
    job_id = jobs.submit("animate_anyone", LONG, files).id
    follow(jobs, job_id, is_denoising)
    kill_worker(folder)
    follow(jobs, job_id, lambda event: is_denoising(event) and event.number > 8)
    notes = [event.data["text"] for event in jobs.wait_events(job_id, 0, 0) if event.kind == "note"]
    killed = "while the job ran, the worker was killed, as the system does where memory runs out"
    assert notes == [f"{killed}: it is run again"]
    kill_worker(folder)
    assert ends(follow(jobs, job_id)) == [FAILED]
    assert jobs.get(job_id).error.startswith(f"{killed}, for the second time; ")
    assert sample(jobs, "failures_total", kind="worker") - before == 2


def test_jobs_outlive_the_server_and_its_worker_does_not(tmp_path):
    folder = tmp_path / "data"
    jobs = Jobs(folder, ServerSettings(device="cpu"))
    jobs.start()
    try:
        last = jobs.submit("animate_anyone", SMALL, send(jobs))
        deadline = time.monotonic() + PATIENCE
        while not workers(folder):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        jobs.stop()
    assert workers(folder) == []
    jobs.stop()
    jobs = Jobs(folder, ServerSettings(device="cpu"))
    assert jobs.get(last.id).state in (QUEUED, DONE)
    with pytest.raises(NotFound):
        jobs.get("nothing")
    jobs.stop()


_SERVER = """
import sys, time
from pathlib import Path
from ppdiffusers_ext.server.jobs import Jobs
from ppdiffusers_ext.server.settings import ServerSettings
jobs = Jobs(Path(sys.argv[1]), ServerSettings(device="cpu"))
jobs.start()
print("begun", flush=True)
time.sleep(100_000)
"""


class Server:
    """A server in a process of its own, for `with`."""

    def __init__(self, folder):
        self._folder = folder

    def __enter__(self):
        command = [sys.executable, "-c", _SERVER, str(self._folder)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, env=child_environment())
        assert self.process.stdout.readline() == b"begun\n"
        return self

    def __exit__(self, *_):
        workers = psutil.Process(self.process.pid).children()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()
        psutil.wait_procs(workers, PATIENCE)
        assert not any(worker.is_running() for worker in workers)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_each_of_50_jobs_ends_once_though_the_server_is_killed_five_times(tmp_path):
    folder = tmp_path / "data"
    jobs = Jobs(folder, ServerSettings(device="cpu"))
    files = send(jobs)
    ids = [jobs.submit("animate_anyone", {**SMALL, "steps": 1, "seed": seed}, files).id for seed in range(50)]
    jobs.stop()
    store, draws = Store(folder / DATABASE), random.Random(25)

    def ended():
        return [job_id for job_id in ids if store.job(job_id).state in ENDED]

    for kill in range(6):
        begun = len(ended())
        with Server(folder):
            while len(ended()) < (50 if kill == 5 else min(begun + draws.randint(0, 6), 50)):
                time.sleep(0.1)
            time.sleep(draws.uniform(0, 2))
    told = [ends(store.events(job_id, 0)[0]) for job_id in ids]
    assert [len(each) for each in told] == [1] * 50
    for job_id, (state,) in zip(ids, told):
        job = store.job(job_id)
        assert job.state == state
        if state == DONE:
            path = folder / "jobs" / store.folder(job_id) / store.results(job_id)["result"]
            assert len(list(open_frames(path))) == 2
        else:
            assert state == FAILED and "the server ended, for the second time" in job.error
    states = Counter(state for (state,) in told)
    print(states)
    assert states[DONE] >= 45
    store.close()


@pytest.mark.slow
def test_plans_and_people_are_told_while_a_job_runs(tmp_path):
    jobs = Jobs(tmp_path / "data", ServerSettings(device="cpu"))
    jobs.start()
    try:
        files = send(jobs)
        job = jobs.submit("animate_anyone", {**SMALL, "steps": 900}, files)
        follow(jobs, job.id, is_denoising)
        plan = jobs.plan("animate_anyone", SMALL, files)
        assert plan["fits"] and plan["frames"] == 2 and plan["seconds"] is None
        found = jobs.preview_poses(files["pose_video"], 3)
        assert (found["width"], found["height"]) == (256, 256) and found["picture"].startswith(b"\x89PNG")
        with pytest.raises(InputError, match="frame is 48; a number from 0 to 47 is accepted"):
            jobs.preview_poses(files["pose_video"], 48)
        assert jobs.get(job.id).state == RUNNING
    finally:
        jobs.stop()
