"""The worker's process: it ends with its server, and a server is told in words how it ended."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from ppdiffusers_ext.server import worker
from ppdiffusers_ext.server.children import child_environment
from ppdiffusers_ext.server.execution import Given
from ppdiffusers_ext.server.messages import decode_files, encode, encode_files
from ppdiffusers_ext.server.process import Ended, WorkerProcess
from ppdiffusers_ext.server.settings import ServerSettings


def test_messages_are_one_line_whatever_is_in_them(tmp_path):
    files = {"video": Given(tmp_path / "a\nb \u6211.mp4", "video", 3, 25.0), "mask": Given(tmp_path / "x", "image")}
    line = encode({"do": "run", "options": {"prompt": "a\nb\u2028\x00\ud800"}, "files": encode_files(files)})
    assert line.count(b"\n") == 1 and line.endswith(b"\n") and line.isascii()
    assert decode_files(json.loads(line)["files"]) == files
    with pytest.raises(ValueError):
        encode({"value": float("nan")})


def test_a_worker_ends_when_its_server_does():
    command = [sys.executable, "-m", worker.__name__, "{}"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                               env=child_environment())  # fmt: skip
    process.stdin.close()
    assert process.wait(120) == 0
    process.stdout.close()


@pytest.mark.parametrize(
    "number, words", [(signal.SIGKILL, "killed, as the system does"), (signal.SIGSEGV, "SIGSEGV")]
)
def test_how_a_worker_ended_is_told_in_words(tmp_path, number, words):
    process = WorkerProcess(ServerSettings(), tmp_path / "log", tmp_path / "lock")
    assert process.is_alive and not process.is_ready and process.receive(0) is None and process.memory > 0
    os.kill(process._process.pid, number)
    deadline = time.monotonic() + 60
    with pytest.raises(Ended, match=words):
        while time.monotonic() < deadline:
            process.receive(0.1)
    with pytest.raises(Ended, match=words):
        process.receive(0)
    with pytest.raises(Ended, match=words):
        process.send({"do": "cancel", "job": "x"})
    process.kill()
    assert not process.is_alive and process.memory == 0


def test_the_log_is_bounded(tmp_path):
    log = tmp_path / "log"
    log.write_bytes(b"x" * (2 << 20))
    WorkerProcess(ServerSettings(), log).kill()
    assert log.stat().st_size < 1 << 20 and (tmp_path / "log.1").stat().st_size == 2 << 20
