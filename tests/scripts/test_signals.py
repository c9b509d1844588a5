"""Commands that are stopped at any moment: by signals that let them clean up, and by one that does not."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from ppdiffusers_ext.data.outputs import check_writable, output_file, output_folder, scratch_folder
from scripts.command import ArgumentParser, run

ROOT = Path(__file__).parents[2]

# Writes without end a file, a folder with a file in it, and a scratch folder, into the folder that it is told.
WORK = """
    import os, sys
    from pathlib import Path
    from ppdiffusers_ext.data.outputs import check_outputs, output_file, output_folder, scratch_folder
    from scripts.command import ArgumentParser, run

    def work(options):
        folder = Path(options.folder)
        check_outputs([folder / "new" / "文件.mp4"])
        print("begun", flush=True)
        for number in range(10**6):
            with scratch_folder(folder / "new" / "文件.mp4") as scratch:
                (scratch / "a").write_bytes(bytes(1000))
                made = folder / f"folder_{os.getpid()}_{number}"
                with output_folder(made) as inner, output_file(folder / "new" / "文件.mp4") as file:
                    for _ in range(20):
                        with open(file, "ab") as writer:
                            writer.write(bytes(100))
                        with output_file(inner / "b.bin") as other:
                            other.write_bytes(bytes(1000))

    parser = ArgumentParser()
    parser.add_argument("folder")
    sys.exit(run(parser, work))
"""


def start(folder, program=WORK, **options):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", textwrap.dedent(program), str(folder)]
    child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    assert child.stdout.readline() == b"begun\n"
    return child


def unfinished(folder):
    """Temporary files and folders below a folder, and files of another length than they are written with."""
    paths = [path for path in folder.rglob("*") if not path.name.startswith("folder_")]
    odd = [path for path in paths if path.is_file() and path.stat().st_size not in (1000, 2000)]
    return [path for path in paths if ".part" in path.name] + odd


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_signal_at_any_moment_leaves_nothing_unfinished(tmp_path, number, code):
    rng = random.Random(number)
    for i in range(5):
        folder = tmp_path / str(i)
        child = start(folder)
        time.sleep(rng.uniform(0, 0.1))
        child.send_signal(number)
        try:
            _, error = child.communicate(timeout=20)
        finally:
            child.kill()
        assert child.returncode == code, error.decode()
        assert "error: stopped by" in error.decode() and "Traceback" not in error.decode()
        assert unfinished(folder) == []


def test_second_signal_does_not_stop_the_cleaning_up(tmp_path):
    child = start(tmp_path)
    for _ in range(20):
        child.send_signal(signal.SIGTERM)
        child.send_signal(signal.SIGHUP)
    child.communicate(timeout=20)
    assert child.returncode in (143, 129) and unfinished(tmp_path) == []


def test_signal_that_is_ignored_stays_ignored(tmp_path):
    child = start(tmp_path, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    child.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    assert child.poll() is None
    child.terminate()
    child.communicate(timeout=20)
    assert child.returncode == 143


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path):
    rng, left = random.Random(0), 0
    for _ in range(8):
        child = start(tmp_path)
        time.sleep(rng.uniform(0.01, 0.1))
        child.kill()
        child.communicate()
        left += len(unfinished(tmp_path))
        check_writable(tmp_path / "any name.mp4")
        check_writable(tmp_path / "new" / "文件.mp4")
        assert unfinished(tmp_path) == []
    assert left > 8
    for path in tmp_path.glob("folder_*"):
        assert (path / "b.bin").stat().st_size == 1000


def test_what_a_running_process_writes_is_not_taken_for_a_leftover(tmp_path):
    child = start(tmp_path)
    try:
        other = start(tmp_path / "new")
        time.sleep(0.2)
        for i in range(50):
            check_writable(tmp_path / "new" / f"{i}.mp4")
            check_writable(tmp_path / f"{i}.mp4")
        assert child.poll() is None and other.poll() is None
    finally:
        for process in (child, other):
            process.terminate()
            _, error = process.communicate(timeout=20)
            assert process.returncode == 143, error.decode()


def test_own_temporaries_are_not_taken_for_leftovers(tmp_path):
    with output_file(tmp_path / "a.mp4") as file, output_folder(tmp_path / "b") as folder:
        with scratch_folder(tmp_path / "c.mp4") as scratch:
            check_writable(tmp_path / "d.mp4")
            assert file.exists() and folder.exists() and scratch.exists()
        assert not scratch.exists()


@pytest.mark.parametrize(
    "name",
    [".a.12345678.part.mp4", ".a.ffffff-12345678.part.mp4", "a.part.mp4", ".a.part", ".part", ".a.mp4.part", "x.tmp"],
)
def test_files_of_others_are_not_taken_for_leftovers(tmp_path, name):
    (tmp_path / name).write_text("of another program, or of another machine")
    check_writable(tmp_path / "a.mp4")
    assert (tmp_path / name).exists()


def test_handlers_are_as_they_were_after_a_command():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)]
    assert run(ArgumentParser(), lambda options: 3, []) == 3
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)] == before


WITH_PADDLE = """
import sys, time
from scripts.signals import Stopped, stopped_by_signals
try:
    with stopped_by_signals():
        print("begins", flush=True)
        import paddlenlp
        print("imported", flush=True)
        time.sleep(60)
except Stopped as stop:
    print("cleaned up", flush=True)
    sys.exit(128 + stop.number)
"""


@pytest.mark.parametrize("word", ["begins", "imported"])
def test_paddle_leaves_signals_alone_while_and_after_it_is_imported(word):
    process = subprocess.Popen([sys.executable, "-c", WITH_PADDLE], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    for line in process.stdout:
        if line.strip() == word:
            break
    process.terminate()
    rest = process.stdout.read()
    assert process.wait(timeout=60) == 143
    assert "cleaned up" in rest
