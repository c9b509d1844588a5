"""A batch comes to its end, with each job done once, whatever becomes of its workers and of the run itself."""

import contextlib
import gc
import os
import random
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import psutil
import pytest

from ppdiffusers_ext.batch import run
from ppdiffusers_ext.batch.manifest import read_manifest
from ppdiffusers_ext.batch.run import Progress, gpus_of
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.workers import local
from tests.support.batch_work import calls_of, jobs_of, run_batch

ROOT = Path(__file__).parents[2]


def test_jobs_that_are_done_are_not_done_again(tmp_path):
    jobs = jobs_of(tmp_path, "x", "fail", "y")
    told = []
    run_batch(tmp_path, jobs, tell=lambda entry, progress: told.append((entry.state, progress.finished)))
    assert told == [("made", 1), ("failed", 2), ("made", 3)] and calls_of(tmp_path) == ["0", "1", "2"]
    manifest = run_batch(tmp_path, jobs)
    assert calls_of(tmp_path)[3:] == ["1"]  # the one that failed
    run_batch(tmp_path, jobs)
    run_batch(tmp_path, jobs)
    assert calls_of(tmp_path)[3:] == ["1", "1"]  # three failures are enough
    assert manifest.entries[jobs[1].output].reason == "words are bad; good ones are accepted"
    run_batch(tmp_path, jobs, attempts=sys.maxsize)
    assert calls_of(tmp_path)[5:] == ["1"]


def test_job_is_done_again_whose_output_is_gone_or_whose_options_are_others(tmp_path):
    run_batch(tmp_path, jobs_of(tmp_path, "x", "y", "z"))
    (tmp_path / "0.txt").unlink()
    run_batch(tmp_path, jobs_of(tmp_path, "x", "other", "z"))
    assert calls_of(tmp_path)[3:] == ["0", "1"] and (tmp_path / "1.txt").read_text() == "other"


def test_job_that_failed_too_often_is_tried_again_when_its_inputs_are_others(tmp_path):
    jobs, source = jobs_of(tmp_path, "fail"), tmp_path / "source"
    for _ in range(4):
        run_batch(tmp_path, jobs, attempts=2, inputs=[str(source)])
    assert calls_of(tmp_path) == ["0", "0"]
    source.write_text("mended")
    for _ in range(3):
        manifest = run_batch(tmp_path, jobs, attempts=2, inputs=[str(source)])
    assert calls_of(tmp_path) == ["0"] * 4 and manifest.entries[jobs[0].output].failures == 2


def test_job_is_done_again_when_one_of_its_inputs_is_another(tmp_path):
    jobs, source = jobs_of(tmp_path, "x"), tmp_path / "source"
    for words in ("a", "a", "other"):
        if not source.exists() or source.read_text() != words:
            source.write_text(words)
        run_batch(tmp_path, jobs, inputs=[str(source)])
    assert calls_of(tmp_path) == ["0", "0"]


def test_job_that_is_stopped_waits_again(tmp_path):
    def stop(entry, progress):
        raise KeyboardInterrupt

    jobs, beginnings = jobs_of(tmp_path, *"xyz"), []
    with pytest.raises(KeyboardInterrupt):
        run_batch(tmp_path, jobs, workers=2, tell=stop)
    states = [entry.state for entry in read_manifest(tmp_path / "manifest.jsonl")]
    assert sorted(states) == ["made", "waiting", "waiting"]
    run_batch(tmp_path, jobs, begin=lambda progress: beginnings.append((progress.finished, progress.total)))
    assert beginnings == [(1, 3)]


def test_poisonous_job_fails_alone_and_its_tries_are_counted(tmp_path):
    jobs = jobs_of(tmp_path, "x", "die", "y", "z")
    manifest = run_batch(tmp_path, jobs, workers=2)
    states = [manifest.entries[job.output] for job in jobs]
    assert [each.state for each in states] == ["made", "failed", "made", "made"]
    assert [each.attempts for each in states] == [1, 2, 1, 1] and states[1].failures == 2
    assert "its worker ended twice (by SIGKILL)" in states[1].reason
    assert sorted(calls_of(tmp_path)) == ["0", "1", "1", "2", "3"]
    assert read_manifest(tmp_path / "manifest.jsonl") == states


def test_job_that_hangs_is_given_up_alone(tmp_path):
    jobs = jobs_of(tmp_path, "x", "hang", "y")
    manifest = run_batch(tmp_path, jobs, workers=1, timeout=0.5)
    states = [manifest.entries[job.output] for job in jobs]
    assert [each.state for each in states] == ["made", "failed", "made"]
    assert "--job-timeout allows more" in states[1].reason and calls_of(tmp_path) == ["0", "1", "2"]


def test_worker_that_is_killed_while_it_waits_costs_no_job(tmp_path):
    def tell(entry, progress):
        for child in psutil.Process().children():
            if child.pid in workers_of(os.getpid()):
                child.kill()
                while child.status() != psutil.STATUS_ZOMBIE:
                    time.sleep(0.01)

    manifest = run_batch(tmp_path, jobs_of(tmp_path, "x", "y", "z"), workers=1, tell=tell)
    assert [(each.state, each.attempts, each.failures) for each in manifest.entries.values()] == [("made", 1, 0)] * 3


def test_worker_that_is_killed_as_it_begins_costs_one_try_of_its_job(tmp_path, monkeypatch):
    begin, kills = local._Worker.begin, []

    def kill(worker, job, task):
        begin(worker, job, task)
        if worker._is_replacing and not kills:
            kills.append(worker._process.pid)
            os.kill(worker._process.pid, signal.SIGKILL)

    monkeypatch.setattr(local._Worker, "begin", kill)
    manifest = run_batch(tmp_path, jobs_of(tmp_path, "die", "x", "y"), workers=1)
    assert [(each.state, each.attempts) for each in manifest.entries.values()] == [
        ("failed", 2),
        ("made", 2),
        ("made", 1),
    ]
    assert len(kills) == 1


def test_memory_of_the_run_does_not_grow_with_the_jobs_that_are_done(tmp_path):
    jobs, sizes = jobs_of(tmp_path, *["x"] * 1000), {}

    def tell(entry, progress):
        if progress.finished in (100, 1000):
            gc.collect()
            sizes[progress.finished] = tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        run_batch(tmp_path, jobs, tell=tell)
    finally:
        tracemalloc.stop()
    assert sizes[1000] - sizes[100] < 900 * 2000  # what the report says of a job, and no more


def test_full_disk_ends_the_run_which_goes_on_later(tmp_path):
    jobs = jobs_of(tmp_path, "x", "full", "y")
    with pytest.raises(InputError, match="no space: the same command goes on with what is missing, 2 jobs"):
        run_batch(tmp_path, jobs)
    assert [entry.state for entry in read_manifest(tmp_path / "manifest.jsonl")] == ["made", "waiting", "waiting"]
    run_batch(tmp_path, jobs_of(tmp_path, "x", "w", "y"))
    assert calls_of(tmp_path) == ["0", "1", "1", "2"]


def test_full_disk_leaves_the_jobs_of_other_disks_to_be_done(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "_disk_of", lambda path: int(Path(path).stem) % 2)
    with pytest.raises(InputError, match="no space.* 3 jobs"):
        run_batch(tmp_path, jobs_of(tmp_path, "x", "full", "y", "z", "w", "v"))
    entries = read_manifest(tmp_path / "manifest.jsonl")
    assert [entry.state for entry in entries] == ["made", "waiting", "made", "waiting", "made", "waiting"]
    assert entries[1].failures == 0


def workers_of(process):
    """Numbers of the worker processes of a run."""
    found = []
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(process).children():
            with contextlib.suppress(psutil.Error):
                found += [child.pid] if "spawn_main" in str(child.cmdline()) else []
    return found


def kill_at_random(folder, kills, count, seed):
    """Runs that are killed, or whose workers are, and one that comes to its end."""
    rng, done = random.Random(seed), 0
    command = [sys.executable, "-m", "tests.support.batch_work", str(folder), str(count)]
    while True:
        run = subprocess.Popen(command, cwd=ROOT)
        while run.poll() is None and done < kills:
            time.sleep(rng.uniform(0.01, 0.4))
            victims, is_whole = workers_of(run.pid), rng.random() < 0.4
            is_whole = is_whole or not victims
            with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(run.pid if is_whole else rng.choice(victims), signal.SIGKILL)
            done += 1
            if is_whole:
                run.wait()
        if run.wait() == 0:
            return done


@pytest.mark.parametrize(("kills", "count"), [(3, 20), pytest.param(20, 200, marks=pytest.mark.slow)])
def test_manifest_is_right_after_random_kills(tmp_path, kills, count):
    kill_at_random(tmp_path, kills, count, seed=kills)
    entries = read_manifest(tmp_path / "manifest.jsonl")
    failed = [entry for entry in entries if entry.state != "made"]
    assert len(entries) == count and all("its worker ended twice" in entry.reason for entry in failed)
    assert len(failed) <= kills // 2
    calls = calls_of(tmp_path)
    for number, entry in enumerate(entries):
        assert calls.count(str(number)) <= entry.attempts  # one that was killed may not have got so far
        if entry.state == "made":
            assert (tmp_path / f"{number}.txt").read_text() == str(number)
    assert len(calls) <= count + 2 * kills


def test_time_left_is_what_the_rest_takes_as_it_went(monkeypatch):
    monkeypatch.setattr(time, "monotonic", lambda: 30.0)
    assert Progress(10, finished=6, worked=4, begun=10.0).seconds_left == 20.0
    assert Progress(10).seconds_left == float("inf")


def test_gpus_are_those_that_may_be_used(tmp_path):
    (tmp_path / "0000:01:00.0").mkdir()
    (tmp_path / "0000:02:00.0").mkdir()
    assert gpus_of({}, str(tmp_path)) == ["0", "1"] and gpus_of({}, str(tmp_path / "none")) == []
    assert gpus_of({"CUDA_VISIBLE_DEVICES": "3,5"}, str(tmp_path)) == ["3", "5"]
