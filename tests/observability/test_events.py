"""Lines of JSON that say what a run does."""

import json
import os
import signal

import pytest

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.observability.events import current_log, logged
from ppdiffusers_ext.pipelines.stage_times import StageTimes, logged_run
from ppdiffusers_ext.pipelines.watching import current_watch, told
from scripts.signals import Stopped


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_run_and_its_stages_are_told(tmp_path):
    path = tmp_path / "log.jsonl"
    for _ in range(2):
        with logged_run(path, "pose2vid"):
            list(told([1, 2], "denoising", 2))
            list(told([1], "decoding", 1))
    found = lines(path)
    assert [each["event"] for each in found] == ["run_started", *["stage_finished"] * 2, "run_finished"] * 2
    assert [each.get("stage") for each in found[1:3]] == ["denoising", "decoding"]
    assert found[0]["command"] == "pose2vid" and all(each["memory_bytes"] > 10**6 for each in found[1:4])
    assert all(each["time"].endswith("+00:00") for each in found) and current_log() is None


def test_failure_is_told_with_its_reason(tmp_path):
    with pytest.raises(KeyError), logged(tmp_path / "log", "x"):
        raise KeyError("two\nlines")
    assert lines(tmp_path / "log")[-1]["event"] == "run_failed"
    assert "two" in lines(tmp_path / "log")[-1]["reason"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (KeyboardInterrupt(), "stopped by Ctrl-C"),
        (Stopped(signal.SIGTERM), "stopped by SIGTERM"),
        (ValueError(), "ValueError"),
        (OSError("x"), "x"),
    ],
)
def test_reason_of_a_failure_is_in_words(tmp_path, error, reason):
    with pytest.raises(type(error)), logged(tmp_path / "log", "x"):
        raise error
    assert lines(tmp_path / "log")[-1]["reason"] == reason


def test_without_a_file_nothing_watches():
    nobody = current_watch()
    with logged_run(None, "x"):
        assert current_watch() is nobody and current_log() is None


@pytest.mark.parametrize("content", [b"\x89PNG", b"{}", b'{"output": "a.mp4", "of": "1"}\n', b"{jobs: []}", b" "])
def test_file_that_is_something_else_stays(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(InputError, match="file is no log of events"), logged(tmp_path / "file", "x"):
        pass
    assert (tmp_path / "file").read_bytes() == content


def test_half_a_line_of_an_earlier_run_keeps_to_itself(tmp_path):
    for _ in range(2):
        with logged(tmp_path / "log", "x"):
            pass
        (tmp_path / "log").write_bytes((tmp_path / "log").read_bytes()[:-5])
    found = (tmp_path / "log").read_text().splitlines()
    assert [text.count("event") for text in found] == [1, 1, 1, 1] and json.loads(found[2])["event"] == "run_started"


def test_folder_and_pipe_that_nobody_reads_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="pipe cannot be written"), logged(tmp_path / "pipe", "x"):
        pass
    with pytest.raises(InputError, match="--log-json .* cannot be written"), logged(tmp_path, "x"):
        pass


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no such file on this system")
def test_disk_that_is_full_is_told():
    with pytest.raises(InputError, match="/dev/full cannot be written"), logged("/dev/full", "x"):
        pass


def test_seconds_of_a_stage_that_comes_again_add_up(monkeypatch):
    clock = iter([0.0, 1.0, 1.0, 4.0, 4.0, 9.0])
    monkeypatch.setattr("ppdiffusers_ext.pipelines.stage_times.time.monotonic", lambda: next(clock))
    times = StageTimes()
    for name in ("denoising", "denoising", "decoding", "denoising"):
        times.stage(name, 1)
    times.end()
    assert times.seconds == {"denoising": 6.0, "decoding": 3.0}
